/* An Asian call under Black-Scholes: the price and its derivatives by spot, rate, volatility and
   strike, over paths given by their standard normals z[steps][paths]. Paths lie side by side and
   run in blocks whose prices stay in the cache for the way back. */

#include <math.h>

enum { BLOCK = 128, MAX_STEPS = 256 };

typedef struct {
    double pay, hit, spot, rate, volatility;
} sums;

static void block(const double *p, long steps, long paths, long count,
                          const double *restrict z, sums *all) {
    double price[MAX_STEPS][BLOCK] __attribute__((aligned(64)));
    double kept[MAX_STEPS][BLOCK] __attribute__((aligned(64))); /* z, which memory gives once */
    double now[BLOCK], total[BLOCK], seed[BLOCK], grown[BLOCK], by_growth[BLOCK], by_z[BLOCK];
    double dt = 1.0 / steps, root = sqrt(dt), discount = exp(-p[1]);
    double drift = (p[1] - 0.5 * p[2] * p[2]) * dt, spread = p[2] * root;
    for (long l = 0; l < count; l++) now[l] = p[0], total[l] = 0.0;
    for (long t = 0; t < steps; t++)
        for (long l = 0; l < count; l++) {
            kept[t][l] = z[t * paths + l];
            now[l] *= exp(drift + spread * kept[t][l]);
            price[t][l] = now[l];
            total[l] += now[l];
        }
    for (long l = 0; l < count; l++) {
        double over = total[l] / steps - p[3], hit = over > 0.0 ? discount : 0.0;
        all->pay += hit * over;
        all->hit += hit;
        seed[l] = hit / steps;
        grown[l] = by_growth[l] = by_z[l] = 0.0;
    }
    /* grown: the derivative by the growth of this day, which all later prices share. */
    for (long t = steps - 1; t >= 0; t--)
        for (long l = 0; l < count; l++) {
            grown[l] += seed[l] * price[t][l];
            by_growth[l] += grown[l];
            by_z[l] += grown[l] * kept[t][l];
        }
    for (long l = 0; l < count; l++) {
        all->spot += grown[l] / p[0];
        all->rate += by_growth[l] * dt;
        all->volatility += by_z[l] * root - by_growth[l] * p[2] * dt;
    }
}

/* p: spot, rate, volatility, strike. out: the price, then its derivatives by p. */
void asian(const double *p, long steps, long paths, const double *restrict z, double *out,
           int threads) {
    double pay = 0.0, hit = 0.0, spot = 0.0, rate = 0.0, volatility = 0.0;
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1) \
    reduction(+ : pay, hit, spot, rate, volatility)
    for (long at = 0; at < paths; at += BLOCK) {
        sums all = {0};
        block(p, steps, paths, paths - at < BLOCK ? paths - at : BLOCK, z + at, &all);
        pay += all.pay, hit += all.hit, spot += all.spot;
        rate += all.rate, volatility += all.volatility;
    }
    out[0] = pay / paths;
    out[1] = spot / paths;
    out[2] = (rate - pay) / paths;
    out[3] = volatility / paths;
    out[4] = -hit / paths;
}
