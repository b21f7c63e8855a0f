/* One layer of a character GPT: loss, gradient and Adam, for TEXTS texts of 8 tokens with the same
   weights. All tokens of all texts lie side by side, as columns of every activation; products run
   in tiles of so many rows by one vector of columns that the sums stay in registers.

   Compile with -DREAL=double -DTEXTS=1, or -DREAL=float -DTEXTS=16. */

#include "adam.h"
#include <string.h>

enum { VOCABULARY = 27, WIDTH = 16, HEADS = 4, TOKENS = 8, FEED = 4 * WIDTH };
enum { SIZE = WIDTH / HEADS, COLUMNS = TOKENS * TEXTS, LANES = 64 / sizeof(REAL) };

typedef REAL lanes __attribute__((vector_size(64), may_alias));

typedef struct {
    REAL token[VOCABULARY][WIDTH], position[TOKENS][WIDTH];
    REAL attend[3 * WIDTH][WIDTH]; /* query, key, value */
    REAL project[WIDTH][WIDTH], up[FEED][WIDTH], down[WIDTH][FEED], head[VOCABULARY][WIDTH];
} weights;

enum { COUNT = sizeof(weights) / sizeof(REAL) };

#define ALIGNED __attribute__((aligned(64)))
#define INLINE static inline __attribute__((always_inline))

/* y[j][c] = sum over i of w(j, i) * x[i][c], `tile` rows at a time; w(j, i) lies at j * down + i *
   across. */
INLINE void product(long rows, long inner, const REAL *restrict w, long down, long across,
                    const REAL x[][COLUMNS], REAL y[][COLUMNS], const long tile) {
    for (long c = 0; c < COLUMNS; c += LANES)
        for (long j = 0; j < rows; j += tile) {
            lanes sums[tile];
            for (long k = 0; k < tile; k++) sums[k] = (lanes){0};
            for (long i = 0; i < inner; i++)
                for (long k = 0; k < tile; k++)
                    sums[k] += w[(j + k) * down + i * across] * *(const lanes *)&x[i][c];
            for (long k = 0; k < tile; k++) *(lanes *)&y[j + k][c] = sums[k];
        }
}

/* g[j][i] = sum over c of d[j][c] * x[c][i]: x is turned, so that i lies side by side. */
INLINE void weight_gradient(long rows, const long inner, const REAL d[][COLUMNS],
                            const REAL *restrict x, REAL *restrict g, const long tile) {
    const long wide = inner / LANES;
    for (long j = 0; j < rows; j += tile) {
        lanes sums[tile][wide];
        for (long k = 0; k < tile; k++)
            for (long i = 0; i < wide; i++) sums[k][i] = (lanes){0};
        for (long c = 0; c < COLUMNS; c++)
            for (long k = 0; k < tile; k++)
                for (long i = 0; i < wide; i++)
                    sums[k][i] += d[j + k][c] * *(const lanes *)&x[c * inner + i * LANES];
        for (long k = 0; k < tile; k++)
            for (long i = 0; i < wide; i++)
                memcpy(&g[(j + k) * inner + i * LANES], &sums[k][i], sizeof(lanes));
    }
}

INLINE void turn(const long rows, const REAL x[][COLUMNS], REAL *restrict y) {
    for (long c = 0; c < COLUMNS; c++)
        for (long i = 0; i < rows; i++) y[c * rows + i] = x[i][c];
}

INLINE void normalise(const REAL x[][COLUMNS], REAL *restrict scale, REAL y[][COLUMNS]) {
    for (long c = 0; c < COLUMNS; c++) {
        REAL square = 0;
        for (long i = 0; i < WIDTH; i++) square += x[i][c] * x[i][c];
        scale[c] = 1 / (REAL)sqrt(square / WIDTH + (REAL)1e-5);
    }
    for (long i = 0; i < WIDTH; i++)
        for (long c = 0; c < COLUMNS; c++) y[i][c] = x[i][c] * scale[c];
}

/* Adds to d[i][c] what reaches x by way of y = normalise(x). */
INLINE void normalise_back(const REAL y[][COLUMNS], const REAL *restrict scale,
                           const REAL dy[][COLUMNS], REAL d[][COLUMNS]) {
    REAL along[COLUMNS] ALIGNED = {0};
    for (long i = 0; i < WIDTH; i++)
        for (long c = 0; c < COLUMNS; c++) along[c] += y[i][c] * dy[i][c];
    for (long i = 0; i < WIDTH; i++)
        for (long c = 0; c < COLUMNS; c++)
            d[i][c] += scale[c] * (dy[i][c] - y[i][c] * along[c] / WIDTH);
}

typedef REAL row __attribute__((vector_size(TOKENS * sizeof(REAL)), aligned(4), may_alias));
typedef row square[TOKENS]; /* [key's token][query's token] */

/* Which queries see a key: those of the same token and of later ones. */
static const square SEEN = {
    {1, 1, 1, 1, 1, 1, 1, 1}, {0, 1, 1, 1, 1, 1, 1, 1}, {0, 0, 1, 1, 1, 1, 1, 1},
    {0, 0, 0, 1, 1, 1, 1, 1}, {0, 0, 0, 0, 1, 1, 1, 1}, {0, 0, 0, 0, 0, 1, 1, 1},
    {0, 0, 0, 0, 0, 0, 1, 1}, {0, 0, 0, 0, 0, 0, 0, 1},
};

/* One head of one text: attend[..] has SIZE rows of queries, of keys, and of values. */
INLINE void attend(REAL at[][COLUMNS], square share, REAL out[][COLUMNS]) {
    const row *q[SIZE];
    const REAL *k[SIZE], *v[SIZE];
    for (long i = 0; i < SIZE; i++)
        q[i] = (row *)at[i], k[i] = at[i + WIDTH], v[i] = at[i + 2 * WIDTH];
    REAL *all = (REAL *)share;
    REAL top[TOKENS];
    row total = {0};
    for (long s = 0; s < TOKENS; s++) {
        row score = {0};
        for (long i = 0; i < SIZE; i++) score += *q[i] * k[i][s];
        share[s] = score * (REAL)0.5 * SEEN[s]; /* unseen ones: 0, which is harmless to exp */
    }
    for (long t = 0; t < TOKENS; t++) top[t] = all[t];
    for (long s = 1; s < TOKENS; s++)
        for (long t = 0; t < TOKENS; t++)
            top[t] = all[s * TOKENS + t] > top[t] ? all[s * TOKENS + t] : top[t];
    for (long s = 0; s < TOKENS; s++) share[s] -= *(row *)top;
    for (long i = 0; i < TOKENS * TOKENS; i++) all[i] = EXP(all[i]);
    for (long s = 0; s < TOKENS; s++) share[s] *= SEEN[s], total += share[s];
    for (long s = 0; s < TOKENS; s++) share[s] /= total;
    for (long i = 0; i < SIZE; i++) {
        row mixed = {0};
        for (long s = 0; s < TOKENS; s++) mixed += share[s] * v[i][s];
        *(row *)out[i] = mixed;
    }
}

INLINE void attend_back(REAL at[][COLUMNS], const square share, REAL dout[][COLUMNS],
                        REAL dat[][COLUMNS]) {
    square back, share_turned, back_turned;
    row along = {0};
    for (long s = 0; s < TOKENS; s++) {
        row sum = {0};
        for (long i = 0; i < SIZE; i++) sum += *(row *)dout[i] * at[i + 2 * WIDTH][s];
        back[s] = sum * share[s];
        along += back[s];
    }
    for (long s = 0; s < TOKENS; s++) back[s] = (back[s] - share[s] * along) * (REAL)0.5;
    for (long s = 0; s < TOKENS; s++)
        for (long t = 0; t < TOKENS; t++)
            share_turned[t][s] = share[s][t], back_turned[t][s] = back[s][t];
    for (long i = 0; i < SIZE; i++) {
        row dq = {0}, dk = {0}, dv = {0};
        for (long s = 0; s < TOKENS; s++) {
            dq += back[s] * at[i + WIDTH][s];
            dk += back_turned[s] * at[i][s];
            dv += share_turned[s] * dout[i][s];
        }
        *(row *)dat[i] = dq, *(row *)dat[i + WIDTH] = dk, *(row *)dat[i + 2 * WIDTH] = dv;
    }
}

/* The mean cross entropy of the texts and its gradient. text[TEXTS][TOKENS + 1]. */
REAL gpt(const weights *restrict w, const int *restrict text, weights *restrict g) {
    static REAL x0[WIDTH][COLUMNS] ALIGNED, n0[WIDTH][COLUMNS] ALIGNED;
    static REAL qkv[3 * WIDTH][COLUMNS] ALIGNED, mixed[WIDTH][COLUMNS] ALIGNED;
    static REAL x1[WIDTH][COLUMNS] ALIGNED, n1[WIDTH][COLUMNS] ALIGNED;
    static REAL hidden[FEED][COLUMNS] ALIGNED, x2[WIDTH][COLUMNS] ALIGNED;
    static REAL logits[VOCABULARY][COLUMNS] ALIGNED, scale0[COLUMNS], scale1[COLUMNS];
    static REAL d[WIDTH][COLUMNS] ALIGNED, dn[WIDTH][COLUMNS] ALIGNED;
    static REAL dhidden[FEED][COLUMNS] ALIGNED, dqkv[3 * WIDTH][COLUMNS] ALIGNED;
    static REAL turned[COLUMNS * WIDTH] ALIGNED;
    static square share[TEXTS][HEADS] ALIGNED;

    for (long b = 0; b < TEXTS; b++)
        for (long t = 0; t < TOKENS; t++)
            for (long i = 0; i < WIDTH; i++)
                x0[i][b * TOKENS + t] =
                    w->token[text[b * (TOKENS + 1) + t]][i] + w->position[t][i];
    normalise(x0, scale0, n0);
    product(3 * WIDTH, WIDTH, w->attend[0], WIDTH, 1, n0, qkv, 8);
    for (long b = 0; b < TEXTS; b++)
        for (long h = 0; h < HEADS; h++)
            attend((void *)&qkv[h * SIZE][b * TOKENS], share[b][h],
                   (void *)&mixed[h * SIZE][b * TOKENS]);
    product(WIDTH, WIDTH, w->project[0], WIDTH, 1, mixed, x1, 8);
    for (long i = 0; i < WIDTH; i++)
        for (long c = 0; c < COLUMNS; c++) x1[i][c] += x0[i][c];
    normalise(x1, scale1, n1);
    product(FEED, WIDTH, w->up[0], WIDTH, 1, n1, hidden, 8);
    for (long i = 0; i < FEED; i++)
        for (long c = 0; c < COLUMNS; c++) hidden[i][c] = hidden[i][c] > 0 ? hidden[i][c] : 0;
    product(WIDTH, FEED, w->down[0], FEED, 1, hidden, x2, 8);
    for (long i = 0; i < WIDTH; i++)
        for (long c = 0; c < COLUMNS; c++) x2[i][c] += x1[i][c];
    product(VOCABULARY, WIDTH, w->head[0], WIDTH, 1, x2, logits, 9);

    /* The loss, and its derivative in place of the logits. */
    REAL top[COLUMNS], total[COLUMNS], loss = 0;
    for (long c = 0; c < COLUMNS; c++) top[c] = logits[0][c], total[c] = 0;
    for (long i = 1; i < VOCABULARY; i++)
        for (long c = 0; c < COLUMNS; c++) top[c] = logits[i][c] > top[c] ? logits[i][c] : top[c];
    for (long b = 0; b < TEXTS; b++)
        for (long t = 0; t < TOKENS; t++)
            loss -= logits[text[b * (TOKENS + 1) + t + 1]][b * TOKENS + t];
    for (long i = 0; i < VOCABULARY; i++)
        for (long c = 0; c < COLUMNS; c++) logits[i][c] = EXP(logits[i][c] - top[c]);
    for (long i = 0; i < VOCABULARY; i++)
        for (long c = 0; c < COLUMNS; c++) total[c] += logits[i][c];
    for (long c = 0; c < COLUMNS; c++) {
        loss += top[c] + LOG(total[c]);
        total[c] = 1 / (total[c] * COLUMNS);
    }
    for (long i = 0; i < VOCABULARY; i++)
        for (long c = 0; c < COLUMNS; c++) logits[i][c] *= total[c];
    for (long b = 0; b < TEXTS; b++)
        for (long t = 0; t < TOKENS; t++)
            logits[text[b * (TOKENS + 1) + t + 1]][b * TOKENS + t] -= (REAL)1 / COLUMNS;

    turn(WIDTH, x2, turned);
    weight_gradient(VOCABULARY, WIDTH, logits, turned, g->head[0], 9);
    product(WIDTH, VOCABULARY, w->head[0], 1, WIDTH, logits, d, 8);

    REAL wide[FEED][WIDTH] ALIGNED; /* the gradient of `down`, turned, for d is the narrower */
    turn(WIDTH, d, turned);
    weight_gradient(FEED, WIDTH, hidden, turned, wide[0], 8);
    for (long j = 0; j < WIDTH; j++)
        for (long i = 0; i < FEED; i++) g->down[j][i] = wide[i][j];
    product(FEED, WIDTH, w->down[0], 1, FEED, d, dhidden, 8);
    for (long i = 0; i < FEED; i++)
        for (long c = 0; c < COLUMNS; c++) dhidden[i][c] = hidden[i][c] > 0 ? dhidden[i][c] : 0;
    turn(WIDTH, n1, turned);
    weight_gradient(FEED, WIDTH, dhidden, turned, g->up[0], 8);
    product(WIDTH, FEED, w->up[0], 1, WIDTH, dhidden, dn, 8);
    normalise_back(n1, scale1, dn, d);

    turn(WIDTH, mixed, turned);
    weight_gradient(WIDTH, WIDTH, d, turned, g->project[0], 8);
    product(WIDTH, WIDTH, w->project[0], 1, WIDTH, d, dn, 8);
    for (long b = 0; b < TEXTS; b++)
        for (long h = 0; h < HEADS; h++)
            attend_back((void *)&qkv[h * SIZE][b * TOKENS], share[b][h],
                        (void *)&dn[h * SIZE][b * TOKENS], (void *)&dqkv[h * SIZE][b * TOKENS]);
    turn(WIDTH, n0, turned);
    weight_gradient(3 * WIDTH, WIDTH, dqkv, turned, g->attend[0], 8);
    product(WIDTH, 3 * WIDTH, w->attend[0], 1, WIDTH, dqkv, dn, 8);
    normalise_back(n0, scale0, dn, d);

    memset(g->token, 0, sizeof g->token);
    memset(g->position, 0, sizeof g->position);
    for (long b = 0; b < TEXTS; b++)
        for (long t = 0; t < TOKENS; t++)
            for (long i = 0; i < WIDTH; i++) {
                g->token[text[b * (TOKENS + 1) + t]][i] += d[i][b * TOKENS + t];
                g->position[t][i] += d[i][b * TOKENS + t];
            }
    return loss / COLUMNS;
}

/* As many updates by Adam, the first being number `first`; the loss before each to `losses`. */
void gpt_steps(weights *restrict w, const int *text, weights *restrict g, REAL *mean, REAL *square,
               double rate, long first, long steps, double *losses) {
    for (long step = 0; step < steps; step++) {
        losses[step] = gpt(w, text, g);
        ADAM(REAL, COUNT, rate, first + step, (REAL *)w, (REAL *)g, mean, square);
    }
}
