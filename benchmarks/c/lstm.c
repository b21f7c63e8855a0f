/* The diagonal LSTM of ADBench: characters of B bits through LAYERS cells whose gates look at one
   unit each; the loss of predicting the next character, and its gradient. Units lie side by side,
   padded to whole vectors; the way there keeps what the way back needs.

   Compile with -DLAYERS=layers; there are 14 units and at most 1,024 characters. */

#include <math.h>
#include <string.h>

enum { B = 14, W = 16, MOST = 1024 };

typedef double unit[W] __attribute__((aligned(64)));

typedef struct {
    unit forget, enter, leave, change;
} gates;

typedef struct {
    gates weight, bias;
} layer;

typedef struct {
    layer cell[LAYERS];
    unit in, out, bias;
} weights;

typedef struct {
    unit input, before, gate[3], change, cell, bent, hidden;
} moment; /* of one layer: input, the hidden state before, gates, ..., tanh(cell), hidden state */

static moment kept[MOST][LAYERS];
static unit likely[MOST]; /* the derivative by the prediction */
static double totals[MOST], times[MOST];

/* Functions of n units, a multiple of W; gcc makes vectors of loops whose length it does not know,
   and single calls of those that it unrolls. */
#define MAP(name, expression)                                              \
    static __attribute__((noinline)) void name(long n, double *restrict y) { \
        for (long i = 0; i < n; i++) {                                     \
            double x = y[i];                                               \
            y[i] = expression;                                             \
        }                                                                  \
    }
MAP(sigmoids, 1.0 / (1.0 + exp(-x)))
MAP(tanhs, 2.0 / (1.0 + exp(-2.0 * x)) - 1.0) /* half the time of tanh(x) */
MAP(exps, exp(x))

/* w and g: padded weights and their gradient; state: for each layer its hidden and cell units;
   text[characters][B]. Predicted is each character but the first. */
static double run(const weights *restrict w, const unit *restrict state, long characters,
                  const double *restrict text, weights *restrict g) {
    unit hidden[LAYERS], cell[LAYERS];
    long steps = characters - 1;
    double loss = 0.0, scale = 1.0 / (steps * B);
    for (long k = 0; k < LAYERS; k++) {
        memcpy(hidden[k], state[2 * k], sizeof(unit));
        memcpy(cell[k], state[2 * k + 1], sizeof(unit));
    }
    for (long t = 0; t < steps; t++) {
        unit x = {0}, gold = {0}, y, shares;
        memcpy(x, text + t * B, B * sizeof(double));
        memcpy(gold, text + (t + 1) * B, B * sizeof(double));
        for (long i = 0; i < W; i++) x[i] *= w->in[i];
        for (long k = 0; k < LAYERS; k++) {
            moment *restrict m = &kept[t][k];
            const gates *restrict a = &w->cell[k].weight, *restrict b = &w->cell[k].bias;
            unit change, bent;
            for (long i = 0; i < W; i++) {
                m->input[i] = x[i];
                m->before[i] = hidden[k][i];
                m->gate[0][i] = x[i] * a->forget[i] + b->forget[i];
                m->gate[1][i] = hidden[k][i] * a->enter[i] + b->enter[i];
                m->gate[2][i] = x[i] * a->leave[i] + b->leave[i];
            }
            sigmoids(3 * W, m->gate[0]);
            for (long i = 0; i < W; i++) change[i] = hidden[k][i] * a->change[i] + b->change[i];
            tanhs(W, change);
            for (long i = 0; i < W; i++) {
                m->change[i] = change[i];
                m->cell[i] = cell[k][i];
                bent[i] = cell[k][i] = cell[k][i] * m->gate[0][i] + m->gate[1][i] * change[i];
            }
            tanhs(W, bent);
            for (long i = 0; i < W; i++) {
                m->bent[i] = bent[i];
                x[i] = hidden[k][i] = m->hidden[i] = m->gate[2][i] * bent[i];
            }
        }
        double total = 2.0, golds = 0.0;
        for (long i = 0; i < W; i++) shares[i] = y[i] = x[i] * w->out[i] + w->bias[i];
        exps(W, shares);
        for (long i = 0; i < B; i++) total += shares[i], golds += gold[i], loss -= gold[i] * y[i];
        totals[t] = total, times[t] = golds;
        for (long i = 0; i < W; i++)
            likely[t][i] = scale * (golds / total * shares[i] - gold[i]);
        for (long i = B; i < W; i++) likely[t][i] = 0.0;
    }
    for (long t = 0; t < steps; t++) loss += times[t] * log(totals[t]);
    memset(g, 0, sizeof *g);
    unit dhidden[LAYERS] = {0}, dcell[LAYERS] = {0};
    for (long t = steps - 1; t >= 0; t--) {
        unit d;
        for (long i = 0; i < W; i++) {
            g->out[i] += likely[t][i] * kept[t][LAYERS - 1].hidden[i];
            g->bias[i] += likely[t][i];
            d[i] = likely[t][i] * w->out[i];
        }
        for (long k = LAYERS - 1; k >= 0; k--) {
            const moment *restrict m = &kept[t][k];
            const gates *restrict a = &w->cell[k].weight;
            gates *restrict ga = &g->cell[k].weight, *restrict gb = &g->cell[k].bias;
            for (long i = 0; i < W; i++) {
                double f = m->gate[0][i], e = m->gate[1][i], l = m->gate[2][i], c = m->change[i];
                double dh = d[i] + dhidden[k][i];
                double dc = dcell[k][i] + dh * l * (1.0 - m->bent[i] * m->bent[i]);
                double df = dc * m->cell[i] * f * (1.0 - f), de = dc * c * e * (1.0 - e);
                double dl = dh * m->bent[i] * l * (1.0 - l), dn = dc * e * (1.0 - c * c);
                dcell[k][i] = dc * f;
                dhidden[k][i] = de * a->enter[i] + dn * a->change[i];
                d[i] = df * a->forget[i] + dl * a->leave[i];
                ga->forget[i] += df * m->input[i], gb->forget[i] += df;
                ga->enter[i] += de * m->before[i], gb->enter[i] += de;
                ga->leave[i] += dl * m->input[i], gb->leave[i] += dl;
                ga->change[i] += dn * m->before[i], gb->change[i] += dn;
            }
        }
        for (long i = 0; i < B; i++) g->in[i] += d[i] * text[t * B + i];
    }
    return loss * scale;
}

/* The same with everything unpadded, as ADBench has it: p[8 * LAYERS + 3][B], state[2 * LAYERS][B]
   and the gradient g as p. */
double lstm(const double *p, const double *state, long characters, const double *text, double *g) {
    static weights w, all;
    static unit start[2 * LAYERS];
    for (long k = 0; k < 8 * LAYERS + 3; k++)
        memcpy((unit *)&w + k, p + k * B, B * sizeof(double));
    for (long k = 0; k < 2 * LAYERS; k++) memcpy(start[k], state + k * B, B * sizeof(double));
    double loss = run(&w, start, characters, text, &all);
    for (long k = 0; k < 8 * LAYERS + 3; k++)
        memcpy(g + k * B, (unit *)&all + k, B * sizeof(double));
    return loss;
}
