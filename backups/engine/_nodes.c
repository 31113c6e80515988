/* A file's node as it stands in a tree, written in one go: see nodes.py for what is computed and for the same in Python.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <string.h>

#define NANOSECONDS 1000000000LL
#define DAY 86400LL
#define STAMP 48

static const char HEX[] = "0123456789abcdef";

typedef struct {
    char *at;
} out_t;

static void put(out_t *o, const char *text, size_t size)
{
    memcpy(o->at, text, size);
    o->at += size;
}

#define PUT(o, literal) put(o, literal, sizeof literal - 1)

static void digits(out_t *o, unsigned long long value, int count)
{
    for (int i = count - 1; i >= 0; i--) {
        o->at[i] = (char)('0' + value % 10);
        value /= 10;
    }
    o->at += count;
}

static void number(out_t *o, unsigned long long value)
{
    int count = 1;
    for (unsigned long long rest = value; rest >= 10; rest /= 10)
        count++;
    digits(o, value, count);
}

static long long floor_div(long long a, long long b)
{
    return a / b - (a % b < 0);
}

/* Year, month and day of a day counted from 1970, in the calendar of today for all times. */
static void civil(long long day, long long *year, unsigned *month, unsigned *of_month)
{
    day += 719468;
    long long era = floor_div(day, 146097);
    unsigned in_era = (unsigned)(day - era * 146097);
    unsigned of_era = (in_era - in_era / 1460 + in_era / 36524 - in_era / 146096) / 365;
    unsigned of_year = in_era - (365 * of_era + of_era / 4 - of_era / 100);
    unsigned shifted = (5 * of_year + 2) / 153;
    *of_month = of_year - (153 * shifted + 2) / 5 + 1;
    *month = shifted < 10 ? shifted + 3 : shifted - 9;
    *year = (long long)of_era + era * 400 + (*month <= 2);
}

/* RFC 3339 with as many digits of the fraction as it needs; -1 where the year has no four digits. */
static int stamp(out_t *o, long long instant, long long offset)
{
    long long seconds = floor_div(instant, NANOSECONDS), nanoseconds = instant - seconds * NANOSECONDS;
    long long day = floor_div(seconds + offset, DAY), within = seconds + offset - day * DAY, year;
    unsigned month, of_month;
    civil(day, &year, &month, &of_month);
    if (year < 0 || year > 9999)
        return -1;
    digits(o, (unsigned long long)year, 4);
    PUT(o, "-");
    digits(o, month, 2);
    PUT(o, "-");
    digits(o, of_month, 2);
    PUT(o, "T");
    digits(o, (unsigned long long)(within / 3600), 2);
    PUT(o, ":");
    digits(o, (unsigned long long)(within / 60 % 60), 2);
    PUT(o, ":");
    digits(o, (unsigned long long)(within % 60), 2);
    if (nanoseconds) {
        PUT(o, ".");
        digits(o, (unsigned long long)nanoseconds, 9);
        while (o->at[-1] == '0')
            o->at--;
    }
    if (!offset) {
        PUT(o, "Z");
        return 0;
    }
    unsigned long long minutes = (unsigned long long)(offset < 0 ? -offset : offset) / 60;
    put(o, offset <= -60 ? "-" : "+", 1);
    digits(o, minutes / 60, 2);
    PUT(o, ":");
    digits(o, minutes % 60, 2);
    return 0;
}

/* Whether neither layer of escapes touches these bytes. */
static int is_plain(const char *text, Py_ssize_t size)
{
    for (Py_ssize_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c < 0x20 || c > 0x7e || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&')
            return 0;
    }
    return 1;
}

static PyObject *file_node(PyObject *self, PyObject *args)
{
    const char *name, *owner, *ids, *xattrs;
    Py_ssize_t name_size, owner_size, ids_size, xattrs_size;
    unsigned long long mode, inode, device, size, links;
    long long mtime, mtime_offset, ctime, ctime_offset;
    (void)self;
    if (!PyArg_ParseTuple(args, "y#KLLLLs#KKKKy#s#", &name, &name_size, &mode, &mtime, &mtime_offset, &ctime,
                          &ctime_offset, &owner, &owner_size, &inode, &device, &size, &links, &ids, &ids_size, &xattrs,
                          &xattrs_size))
        return NULL;
    char stamps[2 * STAMP];
    out_t o = {stamps};
    if (!is_plain(name, name_size) || ids_size % 32 || !mode || !inode || !device || !size || !links ||
        mtime_offset <= -DAY || mtime_offset >= DAY || ctime_offset <= -DAY || ctime_offset >= DAY ||
        stamp(&o, mtime, mtime_offset))
        Py_RETURN_NONE;
    size_t mtime_size = (size_t)(o.at - stamps);
    char *changed = o.at;
    if (stamp(&o, ctime, ctime_offset))
        Py_RETURN_NONE;
    size_t ctime_size = (size_t)(o.at - changed);
    size_t room = 512 + (size_t)name_size + (size_t)owner_size + (size_t)xattrs_size + (size_t)ids_size / 32 * 67;
    char local[2048], *buffer = room <= sizeof local ? local : PyMem_Malloc(room);
    if (!buffer)
        return PyErr_NoMemory();
    o.at = buffer;
    PUT(&o, "{\"name\":\"");
    put(&o, name, (size_t)name_size);
    PUT(&o, "\",\"type\":\"file\",\"mode\":");
    number(&o, mode);
    PUT(&o, ",\"mtime\":\"");
    put(&o, stamps, mtime_size);
    PUT(&o, "\",\"atime\":\"");
    put(&o, stamps, mtime_size);
    PUT(&o, "\",\"ctime\":\"");
    put(&o, changed, ctime_size);
    PUT(&o, "\",");
    put(&o, owner, (size_t)owner_size);
    PUT(&o, ",\"inode\":");
    number(&o, inode);
    PUT(&o, ",\"device_id\":");
    number(&o, device);
    PUT(&o, ",\"size\":");
    number(&o, size);
    PUT(&o, ",\"links\":");
    number(&o, links);
    put(&o, xattrs, (size_t)xattrs_size);
    PUT(&o, ",\"content\":[");
    for (Py_ssize_t i = 0; i < ids_size; i++) {
        if (i % 32 == 0)
            put(&o, i ? ",\"" : "\"", i ? 2 : 1);
        *o.at++ = HEX[(unsigned char)ids[i] >> 4];
        *o.at++ = HEX[ids[i] & 15];
        if (i % 32 == 31)
            *o.at++ = '"';
    }
    PUT(&o, "]}");
    PyObject *node = PyBytes_FromStringAndSize(buffer, o.at - buffer);
    if (buffer != local)
        PyMem_Free(buffer);
    return node;
}

static PyObject *format_time(PyObject *self, PyObject *args)
{
    long long instant, offset;
    char text[STAMP];
    out_t o = {text};
    (void)self;
    if (!PyArg_ParseTuple(args, "LL", &instant, &offset))
        return NULL;
    if (offset <= -DAY || offset >= DAY || stamp(&o, instant, offset))
        Py_RETURN_NONE;
    return PyUnicode_FromStringAndSize(text, o.at - text);
}

static PyMethodDef methods[] = {
    {"file_node", file_node, METH_VARARGS,
     "file_node(name, mode, mtime, its offset, ctime, its offset, owner, inode, device, size, links, ids, xattrs) -> "
     "bytes, or None for what is not ordinary"},
    {"format_time", format_time, METH_VARARGS, "format_time(instant, offset) -> str, or None beyond the calendar"},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_nodes", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__nodes(void)
{
    return PyModule_Create(&module);
}
