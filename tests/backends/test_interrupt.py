import signal
import threading

import pytest

from gradloom.backends.interrupt import patient_interrupt


def test_the_first_ctrl_c_waits_and_the_former_handler_comes_back():
    with patient_interrupt() as let_through:
        let_through()
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            let_through()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_the_second_ctrl_c_does_not_wait():
    with patient_interrupt():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_a_handler_of_somebody_else_stays():
    def mine(*_):
        pass

    former = signal.signal(signal.SIGINT, mine)
    try:
        with patient_interrupt() as let_through:
            assert signal.getsignal(signal.SIGINT) is mine
            let_through()
    finally:
        signal.signal(signal.SIGINT, former)


def test_another_thread_may_train():
    done = []

    def work():
        with patient_interrupt() as let_through:
            let_through()
            done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done
