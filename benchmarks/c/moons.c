/* micrograd's moons demo: MLP 2-16-16-1 with relu, max-margin loss and L2, all samples at once.
   Samples lie side by side, padded to whole vectors; a padding sample weighs nothing. */

#include <string.h>

enum { H = 16, MAX = 104 };
#define L2 1e-4

/* A neuron is its weights, then its bias; layers follow each other. */
typedef struct {
    double one[H][3], two[H][H + 1], three[H + 1];
} weights;

/* sum over i of w[i] * x[i][l] */
#define SUM16(w, x, l)                                                                    \
    ((w)[0] * x[0][l] + (w)[1] * x[1][l] + (w)[2] * x[2][l] + (w)[3] * x[3][l] +          \
     (w)[4] * x[4][l] + (w)[5] * x[5][l] + (w)[6] * x[6][l] + (w)[7] * x[7][l] +          \
     (w)[8] * x[8][l] + (w)[9] * x[9][l] + (w)[10] * x[10][l] + (w)[11] * x[11][l] +      \
     (w)[12] * x[12][l] + (w)[13] * x[13][l] + (w)[14] * x[14][l] + (w)[15] * x[15][l])

/* x[2][padded], y[padded] (0 for padding), `padded` is a multiple of 8 of at most MAX. */
double moons(const weights *restrict w, long samples, long padded, const double *restrict x,
             const double *restrict y, weights *restrict g) {
    static double h1[H][MAX] __attribute__((aligned(64))), h2[H][MAX] __attribute__((aligned(64)));
    static double d2[H][MAX] __attribute__((aligned(64))), d1[MAX] __attribute__((aligned(64)));
    static double d3[MAX] __attribute__((aligned(64)));
    const double *x0 = x, *x1 = x + padded;
    double loss = 0.0, share = 1.0 / samples, norm = 0.0;

    for (long j = 0; j < H; j++)
        for (long l = 0; l < padded; l++) {
            double s = w->one[j][0] * x0[l] + w->one[j][1] * x1[l] + w->one[j][2];
            h1[j][l] = s > 0.0 ? s : 0.0;
        }
    for (long j = 0; j < H; j++)
        for (long l = 0; l < padded; l++) {
            double s = SUM16(w->two[j], h1, l) + w->two[j][H];
            h2[j][l] = s > 0.0 ? s : 0.0;
        }
    double bias3 = 0.0;
    for (long l = 0; l < padded; l++) {
        double margin = 1.0 - y[l] * (SUM16(w->three, h2, l) + w->three[H]);
        double in = margin > 0.0 && y[l] != 0.0 ? share : 0.0;
        loss += in * margin;
        d3[l] = -in * y[l];
        bias3 += d3[l];
    }
    g->three[H] = bias3;
    for (long j = 0; j < H; j++) {
        double s = 0.0, bias = 0.0;
        for (long l = 0; l < padded; l++) {
            s += d3[l] * h2[j][l];
            d2[j][l] = h2[j][l] > 0.0 ? d3[l] * w->three[j] : 0.0;
            bias += d2[j][l];
        }
        g->three[j] = s;
        g->two[j][H] = bias;
    }
    for (long j = 0; j < H; j += 2) /* tiles of 2 by 4 sums */
        for (long i = 0; i < H; i += 4) {
            double a0 = 0, a1 = 0, a2 = 0, a3 = 0, b0 = 0, b1 = 0, b2 = 0, b3 = 0;
            for (long l = 0; l < padded; l++) {
                double a = d2[j][l], b = d2[j + 1][l];
                a0 += a * h1[i][l], a1 += a * h1[i + 1][l];
                a2 += a * h1[i + 2][l], a3 += a * h1[i + 3][l];
                b0 += b * h1[i][l], b1 += b * h1[i + 1][l];
                b2 += b * h1[i + 2][l], b3 += b * h1[i + 3][l];
            }
            double *ga = g->two[j] + i, *gb = g->two[j + 1] + i;
            ga[0] = a0, ga[1] = a1, ga[2] = a2, ga[3] = a3;
            gb[0] = b0, gb[1] = b1, gb[2] = b2, gb[3] = b3;
        }
    double turned[H][H];
    for (long j = 0; j < H; j++)
        for (long i = 0; i < H; i++) turned[i][j] = w->two[j][i];
    for (long i = 0; i < H; i++) {
        double s0 = 0.0, s1 = 0.0, bias = 0.0;
        for (long l = 0; l < padded; l++) {
            double s = SUM16(turned[i], d2, l), d = h1[i][l] > 0.0 ? s : 0.0;
            s0 += d * x0[l], s1 += d * x1[l], bias += d;
        }
        g->one[i][0] = s0, g->one[i][1] = s1, g->one[i][2] = bias;
    }
    const double *wf = (const double *)w;
    double *gf = (double *)g;
    for (unsigned i = 0; i < sizeof(weights) / sizeof(double); i++) {
        norm += wf[i] * wf[i];
        gf[i] += 2 * L2 * wf[i];
    }
    return loss + L2 * norm;
}

/* As many updates by gradient descent; the loss before each goes to `losses`. */
void moons_steps(weights *restrict w, long samples, long padded, const double *x, const double *y,
                 weights *restrict g, double rate, long steps, double *losses) {
    double *wf = (double *)w;
    const double *gf = (const double *)g;
    for (long step = 0; step < steps; step++) {
        losses[step] = moons(w, samples, padded, x, y, g);
        for (unsigned i = 0; i < sizeof(weights) / sizeof(double); i++) wf[i] -= rate * gf[i];
    }
}
