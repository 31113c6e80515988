/* The inner loop of the chunker: see chunker.py for what it computes and for the same in Python.
 *
 * The fingerprint of a position depends on the 64 bytes before it only, so an area can be split into
 * lanes that are rolled side by side; that hides the latency of the two table look-ups.  The first hit
 * in lane order is the cut.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

#define WINDOW 64
#define LANES 6
#define LANE_BYTES 8192

typedef struct {
    uint64_t leaving[256];
    uint64_t reduce[256];
    uint64_t shift;
} tables_t;

static inline uint64_t append_byte(const tables_t *t, uint64_t d, uint8_t b)
{
    return ((d << 8) | b) ^ t->reduce[d >> t->shift];
}

static uint64_t seed(const tables_t *t, const uint8_t *window)
{
    uint64_t d = 0;
    for (int i = 0; i < WINDOW; i++)
        d = append_byte(t, d, window[i]);
    return d;
}

static int64_t scan_one(const tables_t *t, const uint8_t *data, int64_t first, int64_t last, uint64_t mask)
{
    uint64_t d = seed(t, data + first - WINDOW);
    for (int64_t p = first;; p++) {
        if (!(d & mask))
            return p;
        if (p >= last)
            return -1;
        d = append_byte(t, d ^ t->leaving[data[p - WINDOW]], data[p]);
    }
}

/* Positions first .. first + LANES * LANE_BYTES - 1. */
static int64_t scan_lanes(const tables_t *t, const uint8_t *data, int64_t first, uint64_t mask)
{
    const uint8_t *at[LANES];
    uint64_t d[LANES];
    int64_t hit[LANES];
    for (int i = 0; i < LANES; i++) {
        at[i] = data + first + (int64_t)i * LANE_BYTES;
        d[i] = seed(t, at[i] - WINDOW);
        hit[i] = -1;
    }
    uint64_t d0 = d[0], d1 = d[1], d2 = d[2], d3 = d[3], d4 = d[4], d5 = d[5];
    const uint8_t *a0 = at[0], *a1 = at[1], *a2 = at[2], *a3 = at[3], *a4 = at[4], *a5 = at[5];
    for (int64_t j = 0; j < LANE_BYTES; j++) {
        if (!(d0 & mask))
            return first + j;
        if (!(d1 & mask) && hit[1] < 0) hit[1] = j;
        if (!(d2 & mask) && hit[2] < 0) hit[2] = j;
        if (!(d3 & mask) && hit[3] < 0) hit[3] = j;
        if (!(d4 & mask) && hit[4] < 0) hit[4] = j;
        if (!(d5 & mask) && hit[5] < 0) hit[5] = j;
        d0 = append_byte(t, d0 ^ t->leaving[a0[j - WINDOW]], a0[j]);
        d1 = append_byte(t, d1 ^ t->leaving[a1[j - WINDOW]], a1[j]);
        d2 = append_byte(t, d2 ^ t->leaving[a2[j - WINDOW]], a2[j]);
        d3 = append_byte(t, d3 ^ t->leaving[a3[j - WINDOW]], a3[j]);
        d4 = append_byte(t, d4 ^ t->leaving[a4[j - WINDOW]], a4[j]);
        d5 = append_byte(t, d5 ^ t->leaving[a5[j - WINDOW]], a5[j]);
    }
    for (int i = 1; i < LANES; i++)
        if (hit[i] >= 0)
            return first + (int64_t)i * LANE_BYTES + hit[i];
    return -1;
}

static int64_t scan(const tables_t *t, const uint8_t *data, int64_t first, int64_t last, uint64_t mask)
{
    /* The last step of a lane reads the byte at its end: strictly below `last`. */
    while (last - first >= (int64_t)LANES * LANE_BYTES) {
        int64_t cut = scan_lanes(t, data, first, mask);
        if (cut >= 0)
            return cut;
        first += (int64_t)LANES * LANE_BYTES;
    }
    return scan_one(t, data, first, last, mask);
}

static PyObject *find_cut(PyObject *self, PyObject *args)
{
    Py_buffer tables, data;
    long long first, last;
    unsigned long long mask;
    (void)self;
    if (!PyArg_ParseTuple(args, "y*y*LLK", &tables, &data, &first, &last, &mask))
        return NULL;
    if (tables.len != (Py_ssize_t)sizeof(tables_t) || first < WINDOW || last < first || last > data.len) {
        PyBuffer_Release(&tables);
        PyBuffer_Release(&data);
        PyErr_SetString(PyExc_ValueError, "find_cut: positions or tables out of range");
        return NULL;
    }
    tables_t local;
    memcpy(&local, tables.buf, sizeof local);
    int64_t cut = -2;
    if (local.shift <= 45) {
        Py_BEGIN_ALLOW_THREADS
        cut = scan(&local, data.buf, first, last, mask);
        Py_END_ALLOW_THREADS
    }
    PyBuffer_Release(&tables);
    PyBuffer_Release(&data);
    if (cut == -2) {
        PyErr_SetString(PyExc_ValueError, "find_cut: bad tables");
        return NULL;
    }
    return PyLong_FromLongLong(cut);
}

static PyMethodDef methods[] = {
    {"find_cut", find_cut, METH_VARARGS, "find_cut(tables, data, first, last, mask) -> position or -1"},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_chunker", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__chunker(void)
{
    return PyModule_Create(&module);
}
