// Batch normalisation and ReLU, with an addition between them or without, in training: forward and backward.
//
// Arrays are channels-last, `rows` x `channels`. Forward: y = max(0, weight (x - mean) / sqrt(var + eps) + bias + skip)
// in one pass for the statistics and one for the rest. Backward: one pass for the sums over rows and one for the
// gradients (Ioffe, Szegedy 2015, sec. 3).
//
// Rows are divided into chunks, whose sums are added in their order: how many threads there are changes no digit. A
// chunk is a number of periods, and a period is as many rows as make some 256 values, so that the innermost loop is long
// whatever the number of channels. Threads are torch's own, by functions of its OpenMP runtime that the caller passes;
// this file is compiled without OpenMP, and uses nothing of Python, torch or the C++ library.

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

// ---------------------------------------------------------------------------------------------------------------------
// Types: what is stored, and what is computed with

struct bfloat16 {
    uint16_t bits;
};

INLINE float load(float value) { return value; }
INLINE double load(double value) { return value; }
INLINE float load(bfloat16 value) {
    uint32_t bits = (uint32_t)value.bits << 16;
    float loaded;
    memcpy(&loaded, &bits, sizeof loaded);
    return loaded;
}

INLINE void store(float &to, float value) { to = value; }
INLINE void store(double &to, double value) { to = value; }
INLINE void store(bfloat16 &to, float value) {  // to the nearest, ties to even; NaN stays NaN
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    to.bits = (uint16_t)(value != value ? 0x7fc0u : rounded);
}

// ---------------------------------------------------------------------------------------------------------------------
// Passes over `n` periods of `p` values: T is stored, P computed with. Parameters are repeated over the period.

// sum1 += sum of x - origin, sum2 += sum of its squares
template <class T, class P>
INLINE void sums_of_values(const T *__restrict x, const P *__restrict origin, P *__restrict sum1, P *__restrict sum2,
                           int64_t n, int64_t p) {
    int64_t i = 0;
    for (; i + 4 <= n; i += 4) {
        const T *a = x + i * p, *b = a + p, *c = b + p, *d = c + p;
        for (int64_t j = 0; j < p; j++) {
            P o = origin[j], u = load(a[j]) - o, v = load(b[j]) - o, w = load(c[j]) - o, z = load(d[j]) - o;
            sum1[j] += (u + v) + (w + z);
            sum2[j] += (u * u + v * v) + (w * w + z * z);
        }
    }
    for (; i < n; i++)
        for (int64_t j = 0; j < p; j++) {
            P u = load(x[i * p + j]) - origin[j];
            sum1[j] += u;
            sum2[j] += u * u;
        }
}

template <class T, class P, bool ADD>
INLINE void outputs(const T *__restrict x, const T *__restrict skip, T *__restrict y, const P *__restrict scale,
                    const P *__restrict shift, int64_t n, int64_t p) {
    for (int64_t i = 0; i < n; i++) {
        const T *a = x + i * p, *s = skip + i * p;
        T *to = y + i * p;
        for (int64_t j = 0; j < p; j++) {
            P value = load(a[j]) * scale[j] + shift[j];
            if (ADD) value += load(s[j]);
            store(to[j], value < 0 ? 0 : value);  // NaN passes, as in torch
        }
    }
}

// The gradient before the ReLU. Without an addition the sign of its input follows from x, and y need not be read.
template <class T, class P, bool ADD> INLINE P before_relu(T dy, T y, P x, P scale, P shift) {
    P value = ADD ? (P)load(y) : x * scale + shift;
    return value <= 0 ? 0 : load(dy);
}

// sum1 += sum of the gradient before the ReLU, sum2 += sum of its products with x - mean
template <class T, class P, bool ADD>
INLINE void sums_of_gradients(const T *__restrict x, const T *__restrict y, const T *__restrict dy,
                              const P *__restrict scale, const P *__restrict shift, const P *__restrict mean,
                              P *__restrict sum1, P *__restrict sum2, int64_t n, int64_t p) {
    int64_t i = 0;
    for (; i + 2 <= n; i += 2) {
        const T *x0 = x + i * p, *y0 = y + i * p, *d0 = dy + i * p, *x1 = x0 + p, *y1 = y0 + p, *d1 = d0 + p;
        for (int64_t j = 0; j < p; j++) {
            P a = load(x0[j]), b = load(x1[j]);
            P g = before_relu<T, P, ADD>(d0[j], y0[j], a, scale[j], shift[j]);
            P h = before_relu<T, P, ADD>(d1[j], y1[j], b, scale[j], shift[j]);
            sum1[j] += g + h;
            sum2[j] += g * (a - mean[j]) + h * (b - mean[j]);
        }
    }
    for (; i < n; i++)
        for (int64_t j = 0; j < p; j++) {
            P a = load(x[i * p + j]);
            P g = before_relu<T, P, ADD>(dy[i * p + j], y[i * p + j], a, scale[j], shift[j]);
            sum1[j] += g;
            sum2[j] += g * (a - mean[j]);
        }
}

// dx = scale g - slope x - offset, and the gradient of the addition's other operand is g
template <class T, class P, bool ADD>
INLINE void gradients(const T *__restrict x, const T *__restrict y, const T *__restrict dy, T *__restrict dx,
                      T *__restrict dskip, const P *__restrict scale, const P *__restrict shift,
                      const P *__restrict slope, const P *__restrict offset, int64_t n, int64_t p) {
    for (int64_t i = 0; i < n; i++) {
        const T *x0 = x + i * p, *y0 = y + i * p, *d0 = dy + i * p;
        T *to = dx + i * p, *other = dskip + i * p;
        for (int64_t j = 0; j < p; j++) {
            P a = load(x0[j]), g = before_relu<T, P, ADD>(d0[j], y0[j], a, scale[j], shift[j]);
            store(to[j], g * scale[j] - a * slope[j] - offset[j]);
            if (ADD) store(other[j], g);
        }
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// A pass, divided over threads

enum Type { FLOAT32, BFLOAT16, FLOAT64 };
enum Pass { VALUE_SUMS, OUTPUTS, GRADIENT_SUMS, GRADIENTS };

struct Threads {
    void (*parallel)(void (*work)(void *), void *argument, unsigned threads, unsigned flags);  // GOMP_parallel
    int (*number)(void);                                                                       // omp_get_thread_num
    int (*count)(void);                                                                        // omp_get_num_threads
};

struct Task {
    const Threads *threads;
    unsigned most;  // threads
    int level;      // of vector instructions
    Type type;
    Pass pass;
    bool add;
    int64_t rows, channels, repeats, period, periods, chunk, chunks, rest;  // rest: values after the last whole period
    const void *x, *skip, *y, *dy;
    void *out, *dskip;
    void *scale, *shift, *mean, *slope, *offset;  // each of a period; mean: of the values, or the origin of their sums
    void *sums;                                   // of each thread, twice a period
    double *partial;                              // of each chunk, twice the channels
};

// The values of `period` summed over its rows
template <class P> INLINE void fold(const P *sums, double *to, int64_t period, int64_t channels) {
    for (int64_t j = 0; j < channels; j++) {
        double sum = 0;
        for (int64_t k = j; k < period; k += channels) sum += sums[k];
        to[j] = sum;
    }
}

template <class T, class P, bool ADD>
INLINE void span(const Task *t, int64_t at, int64_t n, int64_t p, P *sum1, P *sum2) {
    const T *x = (const T *)t->x + at, *y = (const T *)t->y + at, *dy = (const T *)t->dy + at;
    const P *scale = (const P *)t->scale, *shift = (const P *)t->shift, *mean = (const P *)t->mean;
    T *out = (T *)t->out + at;
    if (t->pass == VALUE_SUMS) sums_of_values<T, P>(x, mean, sum1, sum2, n, p);
    if (t->pass == OUTPUTS) outputs<T, P, ADD>(x, (const T *)t->skip + at, out, scale, shift, n, p);
    if (t->pass == GRADIENT_SUMS) sums_of_gradients<T, P, ADD>(x, y, dy, scale, shift, mean, sum1, sum2, n, p);
    if (t->pass == GRADIENTS)
        gradients<T, P, ADD>(x, y, dy, out, (T *)t->dskip + at, scale, shift, (const P *)t->slope,
                             (const P *)t->offset, n, p);
}

// One thread's chunks. Passes that write go backwards, from what the pass before has left in the cache.
template <class T, class P, bool ADD> INLINE void chunks_of_thread(const Task *t, int64_t number, int64_t count) {
    int64_t from = t->chunks * number / count, to = t->chunks * (number + 1) / count;
    bool sums = t->pass == VALUE_SUMS || t->pass == GRADIENT_SUMS;
    P *sum1 = (P *)t->sums + 2 * t->period * number, *sum2 = sum1 + t->period;
    for (int64_t i = 0; i < to - from; i++) {
        int64_t k = sums ? from + i : to - 1 - i, at = k * t->chunk;
        bool last = k + 1 == t->chunks;
        int64_t n = last ? t->periods - at : t->chunk;
        if (sums) memset(sum1, 0, 2 * t->period * sizeof(P));
        span<T, P, ADD>(t, at * t->period, n, t->period, sum1, sum2);
        if (last && t->rest) span<T, P, ADD>(t, (at + n) * t->period, 1, t->rest, sum1, sum2);
        if (sums) {
            fold(sum1, t->partial + 2 * k * t->channels, t->period, t->channels);
            fold(sum2, t->partial + (2 * k + 1) * t->channels, t->period, t->channels);
        }
    }
}

INLINE void work(const Task *t) {
    int64_t number = t->most > 1 ? t->threads->number() : 0, count = t->most > 1 ? t->threads->count() : 1;
    if (t->type == FLOAT32 && t->add) chunks_of_thread<float, float, true>(t, number, count);
    if (t->type == FLOAT32 && !t->add) chunks_of_thread<float, float, false>(t, number, count);
    if (t->type == BFLOAT16 && t->add) chunks_of_thread<bfloat16, float, true>(t, number, count);
    if (t->type == BFLOAT16 && !t->add) chunks_of_thread<bfloat16, float, false>(t, number, count);
    if (t->type == FLOAT64 && t->add) chunks_of_thread<double, double, true>(t, number, count);
    if (t->type == FLOAT64 && !t->add) chunks_of_thread<double, double, false>(t, number, count);
}

// ---------------------------------------------------------------------------------------------------------------------
// The same for each level of vector instructions, chosen when it runs

static void work_portable(void *task) { work((const Task *)task); }

#if defined(__x86_64__) && defined(__linux__)
__attribute__((target("avx2,fma"))) static void work_avx2(void *task) { work((const Task *)task); }
#if defined(__clang__)
#define AVX512 "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma"
#else
#define AVX512 "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,prefer-vector-width=512"
#endif
__attribute__((target(AVX512))) static void work_avx512(void *task) { work((const Task *)task); }
static void (*const LEVELS[])(void *) = {work_portable, work_avx2, work_avx512};
static int best_level() {
    __builtin_cpu_init();
    bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    return avx2 ? (avx512 ? 2 : 1) : 0;
}
#else
static void (*const LEVELS[])(void *) = {work_portable};
static int best_level() { return 0; }
#endif

static void run(Task *t, Pass pass) {
    t->pass = pass;
    if (t->most > 1)
        t->threads->parallel(LEVELS[t->level], t, t->most, 0);
    else
        LEVELS[t->level](t);
}

// ---------------------------------------------------------------------------------------------------------------------
// Forward and backward

enum { PERIOD = 256, CHUNK = 16384, FEWEST = 32768 };  // values; below FEWEST one thread is faster than several

// Divide the rows, and allocate what the passes need; the block to be freed, or null
template <class P> static void *plan(Task *t) {
    t->repeats = t->channels >= PERIOD ? 1 : (PERIOD + t->channels - 1) / t->channels;
    if (t->repeats > t->rows) t->repeats = t->rows;
    t->period = t->repeats * t->channels;
    t->periods = t->rows / t->repeats;
    t->rest = (t->rows - t->periods * t->repeats) * t->channels;
    t->chunk = CHUNK / t->period > 8 ? CHUNK / t->period : 8;
    t->chunks = (t->periods + t->chunk - 1) / t->chunk;
    if (t->rows * t->channels < FEWEST) t->most = 1;
    size_t partial = 2 * t->channels * t->chunks * sizeof(double), values = (5 + 2 * (size_t)t->most) * t->period;
    char *block = (char *)malloc(partial + values * sizeof(P));
    if (!block) return 0;
    P *first = (P *)(block + partial);
    void **parameters[] = {&t->scale, &t->shift, &t->mean, &t->slope, &t->offset, &t->sums};
    for (int i = 0; i < 6; i++) *parameters[i] = first + i * t->period;
    t->partial = (double *)block;
    return block;
}

template <class P> static void repeat(void *values, const Task *t) {
    P *v = (P *)values;
    for (int64_t k = t->channels; k < t->period; k++) v[k] = v[k - t->channels];
}

static void total(const Task *t, int64_t channel, double *sum1, double *sum2) {
    *sum1 = *sum2 = 0;
    for (int64_t k = 0; k < t->chunks; k++) {
        *sum1 += t->partial[2 * k * t->channels + channel];
        *sum2 += t->partial[(2 * k + 1) * t->channels + channel];
    }
}

// `saved`: mean, 1 / standard deviation, and bias - mean weight / standard deviation, one row each
template <class T, class P>
static int forward(Task *t, const P *weight, const P *bias, P *running_mean, P *running_var, double momentum, double eps,
                   P *saved) {
    void *block = plan<P>(t);
    if (!block) return 1;
    P *scale = (P *)t->scale, *shift = (P *)t->shift, *origin = (P *)t->mean;
    int64_t c = t->channels;
    for (int64_t i = 0; i < c; i++) origin[i] = load(((const T *)t->x)[i]);  // near the mean: no cancellation
    repeat<P>(origin, t);
    run(t, VALUE_SUMS);
    for (int64_t i = 0; i < c; i++) {
        double sum1, sum2;
        total(t, i, &sum1, &sum2);
        double from_origin = sum1 / t->rows, mean = origin[i] + from_origin;
        double var = sum2 / t->rows - from_origin * from_origin;
        var = var < 0 ? 0 : var;
        double factor = 1 / sqrt(var + eps);
        saved[i] = (P)mean;
        saved[c + i] = (P)factor;
        scale[i] = (P)(weight[i] * (double)saved[c + i]);
        saved[2 * c + i] = shift[i] = (P)(bias[i] - mean * scale[i]);
        running_mean[i] = (P)(running_mean[i] + momentum * (mean - running_mean[i]));
        running_var[i] = (P)(running_var[i] + momentum * (var * t->rows / (t->rows - 1) - running_var[i]));
    }
    repeat<P>(scale, t);
    repeat<P>(shift, t);
    run(t, OUTPUTS);
    free(block);
    return 0;
}

// `dparameters`: the gradients of weight and bias, one row each
template <class P> static int backward(Task *t, const P *weight, const P *saved, P *dparameters) {
    void *block = plan<P>(t);
    if (!block) return 1;
    P *scale = (P *)t->scale, *shift = (P *)t->shift, *mean = (P *)t->mean;
    P *slope = (P *)t->slope, *offset = (P *)t->offset;
    int64_t c = t->channels;
    for (int64_t i = 0; i < c; i++) {
        mean[i] = saved[i];
        scale[i] = (P)(weight[i] * (double)saved[c + i]);
        shift[i] = saved[2 * c + i];
    }
    void *parameters[] = {scale, shift, mean};
    for (int i = 0; i < 3; i++) repeat<P>(parameters[i], t);
    run(t, GRADIENT_SUMS);
    for (int64_t i = 0; i < c; i++) {
        double sum1, sum2, factor = saved[c + i];
        total(t, i, &sum1, &sum2);
        dparameters[i] = (P)(sum2 * factor);
        dparameters[c + i] = (P)sum1;
        double by_value = sum2 * factor * factor / t->rows * scale[i];
        slope[i] = (P)by_value;
        offset[i] = (P)(sum1 / t->rows * scale[i] - by_value * mean[i]);
    }
    repeat<P>(slope, t);
    repeat<P>(offset, t);
    run(t, GRADIENTS);
    free(block);
    return 0;
}

// ---------------------------------------------------------------------------------------------------------------------
// What Python calls. Both return 0, or 1 when out of memory.

#define API extern "C" __attribute__((visibility("default")))

API int vector_level(void) { return best_level(); }

// `skip` is null without an addition. Statistics are updated with `momentum`, the variance's without bias.
API int batch_norm_relu(const Threads *threads, int most, int level, int type, int64_t rows, int64_t channels,
                        const void *x, const void *skip, void *y, const void *weight, const void *bias,
                        void *running_mean, void *running_var, double momentum, double eps, void *saved) {
    Task t;
    memset(&t, 0, sizeof t);
    t.threads = threads, t.most = most, t.level = level, t.type = (Type)type, t.rows = rows, t.channels = channels;
    t.x = t.y = t.dy = x, t.add = skip, t.skip = skip ? skip : x, t.out = t.dskip = y;
    if (t.type == FLOAT64)
        return forward<double, double>(&t, (const double *)weight, (const double *)bias, (double *)running_mean,
                                       (double *)running_var, momentum, eps, (double *)saved);
    const float *w = (const float *)weight, *b = (const float *)bias;
    float *m = (float *)running_mean, *v = (float *)running_var, *s = (float *)saved;
    return t.type == FLOAT32 ? forward<float, float>(&t, w, b, m, v, momentum, eps, s)
                             : forward<bfloat16, float>(&t, w, b, m, v, momentum, eps, s);
}

// `y` and `dskip` are null without an addition.
API int batch_norm_relu_backward(const Threads *threads, int most, int level, int type, int64_t rows, int64_t channels,
                                 const void *x, const void *y, const void *dy, void *dx, void *dskip,
                                 const void *weight, const void *saved, void *dparameters) {
    Task t;
    memset(&t, 0, sizeof t);
    t.threads = threads, t.most = most, t.level = level, t.type = (Type)type, t.rows = rows, t.channels = channels;
    t.x = t.skip = x, t.add = dskip, t.y = dskip ? y : x, t.dy = dy, t.out = dx, t.dskip = dskip ? dskip : dx;
    if (t.type == FLOAT64)
        return backward<double>(&t, (const double *)weight, (const double *)saved, (double *)dparameters);
    return backward<float>(&t, (const float *)weight, (const float *)saved, (float *)dparameters);
}
