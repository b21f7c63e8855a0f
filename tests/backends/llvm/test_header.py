"""Headers for C: what they promise, and that nothing in a name can break them."""

from dataclasses import replace

from gradloom.backends.llvm.header import Field, Interface, c_header, javascript, room

PLAIN = Interface(
    "f", ["f, for tests"], 32, [Field("x", 0, (3,))], [Field("result", 0)], 0, [], [5], []
)


def test_text_from_outside_stays_in_its_comment() -> None:
    nasty = replace(PLAIN, inputs=[Field("x*/ int y; /* \n#define Z\x1b \\", 0, note="*/")])
    text = c_header(nasty)
    assert text.count("/*") == text.count("*/") == c_header(PLAIN).count("/*")
    assert "\x1b" not in text
    assert "#define Z" not in [line.strip() for line in text.splitlines()]


def test_no_macro_is_defined_twice() -> None:
    fields = [Field("a b", 0), Field("a-b", 1), Field("é", 2), Field("ü", 3)]
    words = [("IN_A_B", "7"), ("INPUTS", "8"), ("MORE", "9")]
    text = c_header(replace(PLAIN, inputs=fields, definitions=words))
    names = [line.split()[1] for line in text.splitlines() if line.startswith("#define")]
    assert len(names) == len(set(names))
    assert {"F_IN_A_B", "F_IN_A_B_1", "F_IN_X", "F_IN_X_3", "F_MORE"} <= set(names)


def test_lines_are_no_longer_than_a_hundred() -> None:
    long = replace(PLAIN, inputs=[Field("x" * 50, 0, note="word " * 60)], guards=["f.py:1"] * 40)
    assert max(map(len, c_header(long).splitlines())) <= 100


def test_room_is_for_all_that_javascript_puts_there() -> None:
    assert room(PLAIN) == 4 * (3 + 1 + 5)
    both = replace(PLAIN, parameters=2, gradient=[Field("x", 0, (3,))], workspaces=[5, 9])
    assert room(both) == 4 * (3 + 2 + 4 + 9)
    assert "heap.value + 36" in javascript(both, "f.wasm")  # the workspace, behind all others
