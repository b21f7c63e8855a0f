/* Adam's update (Kingma and Ba, 2015) in the form of torch.optim.Adam. */

#include <math.h>

#define ADAM(REAL, count, rate, step, w, g, mean, square)                                      \
    do {                                                                                       \
        REAL *restrict w_ = (w), *restrict m_ = (mean), *restrict s_ = (square);               \
        const REAL *restrict g_ = (g);                                                         \
        REAL rate_ = (rate) / (1.0 - pow(0.9, (step)));                                        \
        REAL root_ = 1.0 / sqrt(1.0 - pow(0.999, (step)));                                     \
        for (long i_ = 0; i_ < (count); i_++) {                                                \
            m_[i_] = (REAL)0.9 * m_[i_] + (REAL)(1.0 - 0.9) * g_[i_];                          \
            s_[i_] = (REAL)0.999 * s_[i_] + (REAL)(1.0 - 0.999) * g_[i_] * g_[i_];             \
            w_[i_] -= rate_ * m_[i_] / ((REAL)sqrt(s_[i_]) * root_ + (REAL)1e-8);              \
        }                                                                                      \
    } while (0)
