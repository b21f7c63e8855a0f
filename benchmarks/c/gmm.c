/* A mixture of Gaussians as in ADBench: the log-likelihood of points, with a Wishart prior on the
   inverse covariances, and its gradient. Points lie side by side, x[D][points], and run in blocks.

   Parameters as ADBench has them: K weights (alpha), K means, and for each component the inverse
   covariance's factor: the logs of its diagonal, then what lies below it, column by column.
   Compile with -DD=dimensions -DK=components. */

#include <math.h>
#include <string.h>

enum { BLOCK = 200, LANES = 8, LOWER = D * (D - 1) / 2 };

typedef double lanes __attribute__((vector_size(64), may_alias));

typedef struct {
    double alpha[K], mean[K][D], factor[K][D + LOWER];
} weights;

typedef double row[BLOCK] __attribute__((aligned(64)));

/* What the block's points say: their log-likelihood, and to `g` the gradient; in the place of the
   diagonal's logs the one by the diagonal itself, in that of the means the one by Q * mean. */
static double block(const weights *restrict w, double diagonal[K][D], const double *restrict bias,
                    long points, const double *restrict x, weights *restrict g) {
    static __thread row main[K] __attribute__((aligned(64)));
    static __thread row q[K][D] __attribute__((aligned(64)));
    row away[D], top, total;
    double loss = 0.0;
    for (long k = 0; k < K; k++) {
        for (long i = 0; i < D; i++)
            for (long l = 0; l < BLOCK; l++) away[i][l] = x[i * points + l] - w->mean[k][i];
        for (long l = 0; l < BLOCK; l++) main[k][l] = 0.0;
        for (long j = 0; j < D; j++) {
            double column[D]; /* row j of the factor */
            for (long i = 0, at = D; i < D; at += D - 1 - i, i++)
                column[i] = i < j ? w->factor[k][at + j - i - 1] : i == j ? diagonal[k][j] : 0.0;
            for (long l = 0; l < BLOCK; l += 5 * LANES) { /* five vectors share each weight */
                lanes sum[5];
                for (long v = 0; v < 5; v++)
                    sum[v] = column[j] * *(lanes *)&away[j][l + v * LANES];
                for (long i = 0; i < j; i++)
                    for (long v = 0; v < 5; v++)
                        sum[v] += column[i] * *(lanes *)&away[i][l + v * LANES];
                for (long v = 0; v < 5; v++) {
                    *(lanes *)&q[k][j][l + v * LANES] = sum[v];
                    *(lanes *)&main[k][l + v * LANES] += sum[v] * sum[v];
                }
            }
        }
        for (long l = 0; l < BLOCK; l++) main[k][l] = bias[k] - 0.5 * main[k][l];
    }
    for (long l = 0; l < BLOCK; l++) top[l] = main[0][l], total[l] = 0.0;
    for (long k = 1; k < K; k++)
        for (long l = 0; l < BLOCK; l++) top[l] = main[k][l] > top[l] ? main[k][l] : top[l];
    for (long k = 0; k < K; k++)
        for (long l = 0; l < BLOCK; l++) {
            /* below that it is nothing in double, and slow in the vector library */
            double low = main[k][l] - top[l];
            main[k][l] = exp(low > -700.0 ? low : -700.0);
            total[l] += main[k][l];
        }
    for (long l = 0; l < BLOCK; l++) {
        loss += top[l] + log(total[l]);
        total[l] = 1.0 / total[l];
    }
    for (long k = 0; k < K; k++) {
        double share = 0.0;
        for (long l = 0; l < BLOCK; l++) main[k][l] *= total[l], share += main[k][l];
        g->alpha[k] += share;
        for (long i = 0; i < D; i++)
            for (long l = 0; l < BLOCK; l++) away[i][l] = x[i * points + l] - w->mean[k][i];
        for (long j = 0; j < D; j++) {
            double mean = 0.0, own = 0.0;
            for (long l = 0; l < BLOCK; l++) {
                q[k][j][l] *= main[k][l];
                mean += q[k][j][l];
                own += q[k][j][l] * away[j][l];
            }
            g->mean[k][j] += mean;
            g->factor[k][j] -= own;
        }
        for (long i = 0, at = D; i < D; at += D - 1 - i, i++) {
            double *below = g->factor[k] + at - i - 1;
            for (long j = i + 1; j < D; j += 2) { /* two sums at a time; the second may be void */
                const double *one = q[k][j], *two = q[k][j + 1 < D ? j + 1 : j];
                double a = 0.0, b = 0.0;
                for (long l = 0; l < BLOCK; l++) {
                    a += one[l] * away[i][l];
                    b += two[l] * away[i][l];
                }
                below[j] -= a;
                if (j + 1 < D) below[j + 1] -= b;
            }
        }
    }
    return loss;
}

/* x[D][points], `points` a multiple of BLOCK; gamma and m are the prior's, `constant` what does
   not depend on the weights. */
double gmm(const weights *restrict w, long points, const double *restrict x, double gamma,
           double m, double constant, weights *restrict g, int threads) {
    double diagonal[K][D], bias[K], sums[K], loss = 0.0, prior = 0.0, top, total = 0.0;
    for (long k = 0; k < K; k++) {
        sums[k] = 0.0;
        for (long i = 0; i < D; i++) {
            diagonal[k][i] = exp(w->factor[k][i]);
            sums[k] += w->factor[k][i];
        }
        bias[k] = w->alpha[k] + sums[k];
    }
    memset(g, 0, sizeof *g);
#pragma omp parallel num_threads(threads) if (threads > 1) reduction(+ : loss)
    {
        weights own = {0};
#pragma omp for schedule(static)
        for (long at = 0; at < points; at += BLOCK)
            loss += block(w, diagonal, bias, points, x + at, &own);
#pragma omp critical
        for (unsigned i = 0; i < sizeof own / sizeof(double); i++)
            ((double *)g)[i] += ((double *)&own)[i];
    }
    top = w->alpha[0];
    for (long k = 1; k < K; k++) top = w->alpha[k] > top ? w->alpha[k] : top;
    for (long k = 0; k < K; k++) total += exp(w->alpha[k] - top);
    for (long k = 0; k < K; k++) {
        double share = g->alpha[k], *f = g->factor[k], mean[D], square = 0.0;
        const double *l = w->factor[k];
        for (long i = 0; i < D; i++) {
            square += diagonal[k][i] * diagonal[k][i];
            f[i] = f[i] * diagonal[k][i] + share +
                   gamma * gamma * diagonal[k][i] * diagonal[k][i] - m;
            mean[i] = diagonal[k][i] * g->mean[k][i];
        }
        for (long i = 0, at = D; i < D; i++)
            for (long j = i + 1; j < D; j++, at++) {
                square += l[at] * l[at];
                f[at] += gamma * gamma * l[at];
                mean[i] += l[at] * g->mean[k][j];
            }
        memcpy(g->mean[k], mean, sizeof mean);
        prior += 0.5 * gamma * gamma * square - m * sums[k];
        g->alpha[k] = share - points * exp(w->alpha[k] - top) / total;
    }
    return constant + loss - points * (top + log(total)) + prior;
}
