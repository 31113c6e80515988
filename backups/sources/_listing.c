/* A folder's items and a small file's bytes with one call of the interpreter each: see listing.py for what is computed
 * and for the same in Python.
 *
 * Everything is opened relative to a descriptor and never through a link; what is read is compared with what was listed
 * before and after.
 */
#define PY_SSIZE_T_CLEAN
#define _GNU_SOURCE
#include <Python.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <unistd.h>

typedef struct {
    char *name;
    unsigned long long inode, device, links, rdev;
    long long size, mtime, ctime;
    unsigned mode, uid, gid;
    int error;
} item_t;

typedef struct {
    item_t *items;
    size_t count, room, odd;
} list_t;

/* Beyond what 64 bits of nanoseconds hold. */
static int is_far(const struct timespec *t)
{
    return t->tv_sec > 9000000000LL || t->tv_sec < -9000000000LL;
}

static long long nanoseconds(const struct timespec *t)
{
    return (long long)t->tv_sec * 1000000000LL + t->tv_nsec;
}

static void fill(item_t *item, const struct stat *s)
{
    item->mode = s->st_mode;
    item->mtime = nanoseconds(&s->st_mtim);
    item->ctime = nanoseconds(&s->st_ctim);
    item->uid = s->st_uid;
    item->gid = s->st_gid;
    item->inode = s->st_ino;
    item->device = s->st_dev;
    item->size = S_ISREG(s->st_mode) ? s->st_size : 0;
    item->links = s->st_nlink;
    item->rdev = s->st_rdev;
}

static void clear(list_t *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->items[i].name);
    free(list->items);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const item_t *)a)->name, ((const item_t *)b)->name);
}

/* Fills the list; 0, or the error that ended the reading. */
static int read_folder(int fd, list_t *list)
{
    int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (own < 0)
        return errno;
    DIR *folder = fdopendir(own);
    if (!folder) {
        int error = errno;
        close(own);
        return error;
    }
    rewinddir(folder);
    int error = 0;
    for (;;) {
        errno = 0;
        struct dirent *entry = readdir(folder);
        if (!entry) {
            error = errno;
            break;
        }
        const char *name = entry->d_name;
        if (name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2])))
            continue;
        if (list->count == list->room) {
            size_t room = list->room ? 2 * list->room : 32;
            item_t *larger = realloc(list->items, room * sizeof *larger);
            if (!larger) {
                error = ENOMEM;
                break;
            }
            list->items = larger;
            list->room = room;
        }
        item_t *item = &list->items[list->count];
        item->name = strdup(name);
        if (!item->name) {
            error = ENOMEM;
            break;
        }
        list->count++;
        struct stat info;
        item->error = fstatat(fd, name, &info, AT_SYMLINK_NOFOLLOW) ? errno : 0;
        if (!item->error) {
            fill(item, &info);
            item->error = is_far(&info.st_mtim) || is_far(&info.st_ctim) ? -1 : 0;
        }
        list->odd += item->error || !(S_ISREG(info.st_mode) || S_ISDIR(info.st_mode));
    }
    rewinddir(folder); /* for whoever lists the same descriptor again */
    closedir(folder);
    qsort(list->items, list->count, sizeof *list->items, by_name);
    return error;
}

/* An item as Python knows it: what `make` gives, None for an unknown kind, and where the item could not be asked, or has
 * a time that needs Python's own numbers, (name, errno or -1). */
static PyObject *made(const item_t *i, PyObject *kinds, PyObject *make)
{
    if (i->error)
        return Py_BuildValue("yi", i->name, i->error);
    PyObject *number = PyLong_FromLong(i->mode & S_IFMT);
    if (!number)
        return NULL;
    PyObject *kind = PyDict_GetItemWithError(kinds, number);
    Py_DECREF(number);
    if (!kind) {
        if (PyErr_Occurred())
            return NULL;
        Py_RETURN_NONE;
    }
    PyObject *fields = Py_BuildValue("yOILLIIKKLKK", i->name, kind, i->mode, i->mtime, i->ctime, i->uid, i->gid, i->inode,
                                     i->device, i->size, i->links, i->rdev);
    if (!fields)
        return NULL;
    PyObject *item = PyObject_Call(make, fields, NULL);
    Py_DECREF(fields);
    return item;
}

static PyObject *list_folder(PyObject *self, PyObject *args)
{
    int fd, error;
    PyObject *kinds, *make;
    list_t list = {NULL, 0, 0, 0};
    (void)self;
    if (!PyArg_ParseTuple(args, "iO!O", &fd, &PyDict_Type, &kinds, &make))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    error = read_folder(fd, &list);
    Py_END_ALLOW_THREADS
    PyObject *items = NULL;
    if (error) {
        errno = error;
        PyErr_SetFromErrno(PyExc_OSError);
        goto end;
    }
    items = PyList_New(0);
    for (size_t i = 0; items && i < list.count; i++) {
        PyObject *item = made(&list.items[i], kinds, make);
        free(list.items[i].name);
        list.items[i].name = NULL;
        if (!item || (item != Py_None && PyList_Append(items, item))) {
            Py_DECREF(items);
            items = NULL;
        }
        Py_XDECREF(item);
    }
end:
    clear(&list);
    return items ? Py_BuildValue("Nn", items, (Py_ssize_t)list.odd) : NULL;
}

static int differs(const struct stat *s, unsigned long long inode, unsigned long long device, long long size,
                   long long mtime, long long ctime)
{
    return !S_ISREG(s->st_mode) || is_far(&s->st_mtim) || is_far(&s->st_ctim) || s->st_ino != inode || s->st_dev != device || s->st_size != size ||
           nanoseconds(&s->st_mtim) != mtime || nanoseconds(&s->st_ctim) != ctime;
}

/* Reads exactly `size` bytes that are all there is, of a file that is and stays what was listed. */
static int read_whole(int fd, char *into, unsigned long long inode, unsigned long long device, long long size,
                      long long mtime, long long ctime, int single, int xattrs)
{
    struct stat info;
    char beyond;
    struct iovec parts[2] = {{into, (size_t)size}, {&beyond, 1}};
    if (fstat(fd, &info) || differs(&info, inode, device, size, mtime, ctime) || (single && info.st_nlink > 1))
        return 0;
    if (readv(fd, parts, 2) != size || fstat(fd, &info) || differs(&info, inode, device, size, mtime, ctime))
        return 0;
    if (!xattrs)
        return 1;
    ssize_t names = flistxattr(fd, NULL, 0);
    return !names || (names < 0 && (errno == ENOTSUP || errno == ENODATA));
}

/* Returns the file's bytes, or None for whatever is not simple: then the long way is taken, which tells why. */
static PyObject *slurp(PyObject *self, PyObject *args)
{
    int folder, flags, noatime, single, xattrs, fine = 0;
    const char *name;
    unsigned long long inode, device;
    long long size, mtime, ctime;
    (void)self;
    if (!PyArg_ParseTuple(args, "iyiiKKLLLpp", &folder, &name, &flags, &noatime, &inode, &device, &size, &mtime, &ctime,
                          &single, &xattrs))
        return NULL;
    if (size < 0 || size > 1 << 30)
        Py_RETURN_NONE;
    PyObject *data = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
    if (!data)
        return NULL;
    char *into = PyBytes_AsString(data);
    Py_BEGIN_ALLOW_THREADS
    int fd = openat(folder, name, flags | noatime);
    if (fd < 0 && errno == EPERM && noatime)
        fd = openat(folder, name, flags);
    if (fd >= 0) {
        fine = read_whole(fd, into, inode, device, size, mtime, ctime, single, xattrs);
        close(fd);
    }
    Py_END_ALLOW_THREADS
    if (fine)
        return data;
    Py_DECREF(data);
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"list_folder", list_folder, METH_VARARGS,
     "list_folder(descriptor, kinds, make) -> (an item for each name, in their order; how many are no plain files or "
     "folders).  An item is what make gives, or (name, errno), with -1 for one to be asked in another way"},
    {"slurp", slurp, METH_VARARGS,
     "slurp(folder, name, flags, noatime, inode, device, size, mtime, ctime, single, xattrs) -> bytes, or None"},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_listing", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__listing(void)
{
    return PyModule_Create(&module);
}
