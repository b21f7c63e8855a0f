/* A multi-layer perceptron 64-64-10 with relu on the digits: an epoch of minibatches by Adam on the
   mean cross entropy. Units lie side by side; a batch's samples run in tiles whose sums stay in
   registers. */

#include "adam.h"
#include <string.h>

enum { IN = 64, HIDDEN = 64, CLASSES = 10, BATCH = 64, LANES = 8, TILE = 4 };

typedef double lanes __attribute__((vector_size(64), may_alias));

/* The first layer is kept turned: all units of an input side by side. */
typedef struct {
    double one[IN][HIDDEN], bias1[HIDDEN], two[CLASSES][HIDDEN], bias2[CLASSES + 6];
} weights;

enum { COUNT = sizeof(weights) / sizeof(double), WIDE = HIDDEN / LANES };

#define ALIGNED __attribute__((aligned(64)))

/* The sum of the losses of samples `from` to `to` of the batch, and their gradient over `count`
   samples added to g. */
static double samples(const weights *restrict w, const double *restrict x, const int *restrict y,
                      const int *restrict order, long from, long to, weights *restrict g,
                      double (*restrict h)[HIDDEN], double (*restrict d)[HIDDEN],
                      double (*restrict p)[16]) {
    double loss = 0.0;
    for (long s = from; s < to; s += TILE)
        for (long at = 0; at < HIDDEN; at += 4 * LANES) {
            lanes sums[TILE][4];
            for (long a = 0; a < TILE; a++)
                for (long v = 0; v < 4; v++) sums[a][v] = *(lanes *)&w->bias1[at + v * LANES];
            for (long i = 0; i < IN; i++)
                for (long a = 0; a < TILE; a++)
                    for (long v = 0; v < 4; v++)
                        sums[a][v] += x[(long)order[s + a] * IN + i] *
                                      *(const lanes *)&w->one[i][at + v * LANES];
            for (long a = 0; a < TILE; a++)
                for (long v = 0; v < 4; v++)
                    memcpy(&h[s + a][at + v * LANES], &sums[a][v], sizeof(lanes));
        }
    for (long s = from; s < to; s++) {
        double top = -1e300, total = 0.0;
        for (long j = 0; j < HIDDEN; j++) h[s][j] = h[s][j] > 0.0 ? h[s][j] : 0.0;
        for (long c = 0; c < CLASSES; c++) {
            double sum = w->bias2[c];
            for (long j = 0; j < HIDDEN; j++) sum += w->two[c][j] * h[s][j];
            p[s][c] = sum;
        }
        for (long c = 0; c < CLASSES; c++) top = p[s][c] > top ? p[s][c] : top;
        loss += top - p[s][y[order[s]]];
        for (long c = 0; c < 16; c++) p[s][c] = c < CLASSES ? p[s][c] - top : 0.0;
        for (long c = 0; c < 16; c++) p[s][c] = exp(p[s][c]);
        for (long c = 0; c < CLASSES; c++) total += p[s][c];
        loss += log(total);
        total = 1.0 / (total * BATCH);
        for (long c = 0; c < 16; c++) p[s][c] = c < CLASSES ? p[s][c] * total : 0.0;
        p[s][y[order[s]]] -= 1.0 / BATCH;
        for (long c = 0; c < 16; c++) g->bias2[c] += p[s][c];
        lanes sums[WIDE];
        for (long v = 0; v < WIDE; v++) sums[v] = (lanes){0};
        for (long c = 0; c < CLASSES; c++)
            for (long v = 0; v < WIDE; v++) sums[v] += p[s][c] * *(lanes *)&w->two[c][v * LANES];
        memcpy(d[s], sums, sizeof sums);
        for (long j = 0; j < HIDDEN; j++) {
            d[s][j] = h[s][j] > 0.0 ? d[s][j] : 0.0;
            g->bias1[j] += d[s][j];
        }
    }
    for (long c = 0; c < CLASSES; c += 2) {
        lanes a[WIDE], b[WIDE];
        for (long v = 0; v < WIDE; v++)
            a[v] = *(lanes *)&g->two[c][v * LANES], b[v] = *(lanes *)&g->two[c + 1][v * LANES];
        for (long s = from; s < to; s++)
            for (long v = 0; v < WIDE; v++) {
                a[v] += p[s][c] * *(lanes *)&h[s][v * LANES];
                b[v] += p[s][c + 1] * *(lanes *)&h[s][v * LANES];
            }
        memcpy(g->two[c], a, sizeof a), memcpy(g->two[c + 1], b, sizeof b);
    }
    for (long i = 0; i < IN; i += TILE)
        for (long at = 0; at < HIDDEN; at += 4 * LANES) {
            lanes sums[TILE][4];
            for (long a = 0; a < TILE; a++)
                for (long v = 0; v < 4; v++) sums[a][v] = *(lanes *)&g->one[i + a][at + v * LANES];
            for (long s = from; s < to; s++)
                for (long a = 0; a < TILE; a++)
                    for (long v = 0; v < 4; v++)
                        sums[a][v] += x[(long)order[s] * IN + i + a] *
                                      *(const lanes *)&d[s][at + v * LANES];
            for (long a = 0; a < TILE; a++)
                for (long v = 0; v < 4; v++)
                    memcpy(&g->one[i + a][at + v * LANES], &sums[a][v], sizeof(lanes));
        }
    return loss;
}

/* `batches` updates, the first being number `first`, with the samples in this order; the mean loss
   of each batch before its update goes to `losses`. */
void digits_epoch(weights *restrict w, weights *restrict mean, weights *restrict square,
                  const double *x, const int *y, const int *order, long batches, double rate,
                  long first, double *losses, int threads) {
    static double h[BATCH][HIDDEN] ALIGNED, d[BATCH][HIDDEN] ALIGNED, p[BATCH][16] ALIGNED;
    static weights g[2] ALIGNED;
    for (long batch = 0; batch < batches; batch++, order += BATCH) {
        memset(g, 0, sizeof(weights) * threads);
        double loss = 0.0;
#pragma omp parallel for num_threads(threads) if (threads > 1) reduction(+ : loss)
        for (int part = 0; part < threads; part++)
            loss += samples(w, x, y, order, BATCH / threads * part,
                            BATCH / threads * (part + 1), &g[part], h, d, p);
        if (threads > 1)
            for (long i = 0; i < COUNT; i++) ((double *)&g[0])[i] += ((double *)&g[1])[i];
        losses[batch] = loss / BATCH;
        ADAM(double, COUNT, rate, first + batch, (double *)w, (double *)g, (double *)mean,
             (double *)square);
    }
}
