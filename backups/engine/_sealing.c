/* One small blob at a time through OpenSSL and zstd, with one call of the interpreter instead of a dozen.
 *
 * The libraries are the ones Python has loaded anyway; their entry points are looked up when a context is made, so that
 * nothing but a C compiler is needed to build this file.  sealing.py says what is computed, and crypto.py and blob.py do
 * the same with the libraries' Python interfaces: where a context cannot be made, they serve.
 *
 * A context belongs to one thread.  Large data lets go of the interpreter's lock, small data is quicker with it.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define NONCE 16
#define TAG 16
#define OVERHEAD (NONCE + TAG)
#define LONG_ENOUGH 8192
#define KEEP (1 << 20)
#define CAPSULE "backups.engine._sealing"
#define ZSTD_LEVEL 100
#define ZSTD_WINDOW_LOG 101
#define ZSTD_CHECKSUM 201

typedef struct {
    void *(*cipher_fetch)(void *, const char *, const char *);
    void (*cipher_free)(void *);
    void *(*cipher_new)(void);
    void (*cipher_context_free)(void *);
    int (*cipher_init)(void *, const void *, const unsigned char *, const unsigned char *, const void *);
    int (*cipher_update)(void *, unsigned char *, int *, const unsigned char *, int);
    void *(*mac_fetch)(void *, const char *, const char *);
    void (*mac_free)(void *);
    void *(*mac_new)(void *);
    void (*mac_context_free)(void *);
    int (*mac_init)(void *, const unsigned char *, size_t, const void *);
    int (*mac_update)(void *, const unsigned char *, size_t);
    int (*mac_final)(void *, unsigned char *, size_t *, size_t);
    int (*compare)(const void *, const void *, size_t);
    void (*cleanse)(void *, size_t);
} crypto_t;

typedef struct {
    void *(*new_compressor)(void);
    size_t (*free_compressor)(void *);
    size_t (*set)(void *, int, int);
    size_t (*compress)(void *, void *, size_t, const void *, size_t);
    size_t (*bound)(size_t);
    unsigned (*is_error)(size_t);
    void *(*new_decompressor)(void);
    size_t (*free_decompressor)(void *);
    size_t (*decompress)(void *, void *, size_t, const void *, size_t);
} zstd_t;

typedef struct {
    crypto_t crypto;
    zstd_t zstd;
    void *stream, *block, *mac, *mac_algorithm, *stream_algorithm, *block_algorithm;
    void *compressor, *decompressor;
    unsigned char r[16];
    unsigned char *frame, *again;
    size_t frame_size, again_size;
} context_t;

#define FIND(library, into, name) \
    if (!(*(void **)&(into) = dlsym(library, name))) return -1

static int find_crypto(crypto_t *c, void *library)
{
    FIND(library, c->cipher_fetch, "EVP_CIPHER_fetch");
    FIND(library, c->cipher_free, "EVP_CIPHER_free");
    FIND(library, c->cipher_new, "EVP_CIPHER_CTX_new");
    FIND(library, c->cipher_context_free, "EVP_CIPHER_CTX_free");
    FIND(library, c->cipher_init, "EVP_EncryptInit_ex2");
    FIND(library, c->cipher_update, "EVP_EncryptUpdate");
    FIND(library, c->mac_fetch, "EVP_MAC_fetch");
    FIND(library, c->mac_free, "EVP_MAC_free");
    FIND(library, c->mac_new, "EVP_MAC_CTX_new");
    FIND(library, c->mac_context_free, "EVP_MAC_CTX_free");
    FIND(library, c->mac_init, "EVP_MAC_init");
    FIND(library, c->mac_update, "EVP_MAC_update");
    FIND(library, c->mac_final, "EVP_MAC_final");
    FIND(library, c->compare, "CRYPTO_memcmp");
    FIND(library, c->cleanse, "OPENSSL_cleanse");
    return 0;
}

static int find_zstd(zstd_t *z, void *library)
{
    FIND(library, z->new_compressor, "ZSTD_createCCtx");
    FIND(library, z->free_compressor, "ZSTD_freeCCtx");
    FIND(library, z->set, "ZSTD_CCtx_setParameter");
    FIND(library, z->compress, "ZSTD_compress2");
    FIND(library, z->bound, "ZSTD_compressBound");
    FIND(library, z->is_error, "ZSTD_isError");
    FIND(library, z->new_decompressor, "ZSTD_createDCtx");
    FIND(library, z->free_decompressor, "ZSTD_freeDCtx");
    FIND(library, z->decompress, "ZSTD_decompressDCtx");
    return 0;
}

static void free_context(context_t *c)
{
    if (c->stream)
        c->crypto.cipher_context_free(c->stream);
    if (c->block)
        c->crypto.cipher_context_free(c->block);
    if (c->stream_algorithm)
        c->crypto.cipher_free(c->stream_algorithm);
    if (c->block_algorithm)
        c->crypto.cipher_free(c->block_algorithm);
    if (c->mac)
        c->crypto.mac_context_free(c->mac);
    if (c->mac_algorithm)
        c->crypto.mac_free(c->mac_algorithm);
    if (c->compressor)
        c->zstd.free_compressor(c->compressor);
    if (c->decompressor)
        c->zstd.free_decompressor(c->decompressor);
    if (c->crypto.cleanse)
        c->crypto.cleanse(c->r, sizeof c->r);
    free(c->frame);
    free(c->again);
    free(c);
}

static void free_capsule(PyObject *capsule)
{
    context_t *c = PyCapsule_GetPointer(capsule, CAPSULE);
    if (c)
        free_context(c);
}

static int fill_context(context_t *c, const char *crypto, const char *zstd, const unsigned char *key, int level)
{
    void *library = dlopen(crypto, RTLD_NOW | RTLD_LOCAL);
    if (!library || find_crypto(&c->crypto, library))
        return -1;
    library = dlopen(zstd, RTLD_NOW | RTLD_LOCAL);
    if (!library || find_zstd(&c->zstd, library))
        return -1;
    crypto_t *o = &c->crypto;
    c->stream_algorithm = o->cipher_fetch(NULL, "AES-256-CTR", NULL);
    c->block_algorithm = o->cipher_fetch(NULL, "AES-128-ECB", NULL);
    c->mac_algorithm = o->mac_fetch(NULL, "POLY1305", NULL);
    if (!c->stream_algorithm || !c->block_algorithm || !c->mac_algorithm)
        return -1;
    c->stream = o->cipher_new();
    c->block = o->cipher_new();
    c->mac = o->mac_new(c->mac_algorithm);
    if (!c->stream || !c->block || !c->mac)
        return -1;
    unsigned char zero[NONCE] = {0};
    if (o->cipher_init(c->stream, c->stream_algorithm, key, zero, NULL) != 1 ||
        o->cipher_init(c->block, c->block_algorithm, key + 32, NULL, NULL) != 1)
        return -1;
    memcpy(c->r, key + 48, 16);
    c->compressor = c->zstd.new_compressor();
    c->decompressor = c->zstd.new_decompressor();
    if (!c->compressor || !c->decompressor)
        return -1;
    if (c->zstd.is_error(c->zstd.set(c->compressor, ZSTD_LEVEL, level)) ||
        c->zstd.is_error(c->zstd.set(c->compressor, ZSTD_WINDOW_LOG, 20)) ||
        c->zstd.is_error(c->zstd.set(c->compressor, ZSTD_CHECKSUM, 0)))
        return -1;
    return 0;
}

static PyObject *context(PyObject *self, PyObject *args)
{
    const char *crypto, *zstd;
    const unsigned char *key;
    Py_ssize_t size;
    int level;
    (void)self;
    if (!PyArg_ParseTuple(args, "ssy#i", &crypto, &zstd, &key, &size, &level))
        return NULL;
    if (size != 64) {
        PyErr_SetString(PyExc_ValueError, "context: a key has 64 bytes");
        return NULL;
    }
    context_t *c = calloc(1, sizeof *c);
    if (!c)
        return PyErr_NoMemory();
    if (fill_context(c, crypto, zstd, key, level)) {
        free_context(c);
        PyErr_SetString(PyExc_ImportError, "these libraries lack what is needed");
        return NULL;
    }
    PyObject *capsule = PyCapsule_New(c, CAPSULE, free_capsule);
    if (!capsule)
        free_context(c);
    return capsule;
}

/* The tag of a body: the one-time key is r and the nonce encrypted. */
static int tag_of(context_t *c, const unsigned char *nonce, const unsigned char *body, size_t size, unsigned char *tag)
{
    unsigned char key[32];
    int done = 0;
    size_t written = 0;
    memcpy(key, c->r, 16);
    int fine = c->crypto.cipher_update(c->block, key + 16, &done, nonce, NONCE) == 1 && done == NONCE &&
               c->crypto.mac_init(c->mac, key, sizeof key, NULL) == 1 &&
               c->crypto.mac_update(c->mac, body, size) == 1 && c->crypto.mac_final(c->mac, tag, &written, TAG) == 1 &&
               written == TAG;
    c->crypto.cleanse(key, sizeof key);
    return fine ? 0 : -1;
}

/* Encrypts or decrypts: in counter mode they are the same. */
static int crypt_body(context_t *c, const unsigned char *nonce, const unsigned char *in, size_t size, unsigned char *out)
{
    int done = 0;
    if (c->crypto.cipher_init(c->stream, NULL, NULL, nonce, NULL) != 1)
        return -1;
    return c->crypto.cipher_update(c->stream, out, &done, in, (int)size) == 1 && done == (int)size ? 0 : -1;
}

static int grow(unsigned char **buffer, size_t *have, size_t want)
{
    if (*have >= want)
        return 0;
    unsigned char *larger = realloc(*buffer, want);
    if (!larger)
        return -1;
    *buffer = larger;
    *have = want;
    return 0;
}

/* What a large blob needed is not kept. */
static void shrink(context_t *c)
{
    if (c->frame_size > KEEP) {
        free(c->frame);
        c->frame = NULL;
        c->frame_size = 0;
    }
    if (c->again_size > KEEP) {
        free(c->again);
        c->again = NULL;
        c->again_size = 0;
    }
}

static int seal_into(context_t *c, const unsigned char *body, size_t size, unsigned char *out)
{
    if (crypt_body(c, out, body, size, out + NONCE))
        return -1;
    return tag_of(c, out, out + NONCE, size, out + NONCE + size);
}

/* 1 if the envelope authenticates and is open now, 0 if it does not, -1 for a library that fails. */
static int open_into(context_t *c, const unsigned char *sealed, size_t size, unsigned char *out)
{
    unsigned char tag[TAG];
    size_t body = size - OVERHEAD;
    if (tag_of(c, sealed, sealed + NONCE, body, tag))
        return -1;
    if (c->crypto.compare(tag, sealed + NONCE + body, TAG))
        return 0;
    return crypt_body(c, sealed, sealed + NONCE, body, out) ? -1 : 1;
}

/* 1 if what was sealed gives the plaintext back, by the way a reader takes. */
static int proves(context_t *c, const unsigned char *sealed, size_t size, const unsigned char *plain, size_t length, int packed)
{
    int opened = open_into(c, sealed, size, c->frame);
    if (opened != 1)
        return opened;
    if (!packed)
        return size - OVERHEAD == length && !memcmp(c->frame, plain, length);
    size_t got = c->zstd.decompress(c->decompressor, c->again, length, c->frame, size - OVERHEAD);
    return !c->zstd.is_error(got) && got == length && !memcmp(c->again, plain, length);
}

static context_t *context_of(PyObject *capsule)
{
    return PyCapsule_GetPointer(capsule, CAPSULE);
}

static PyObject *failed(const char *what)
{
    PyErr_SetString(PyExc_RuntimeError, what);
    return NULL;
}

static PyObject *seal(PyObject *self, PyObject *args)
{
    PyObject *capsule;
    Py_buffer plain;
    int compress, always;
    (void)self;
    if (!PyArg_ParseTuple(args, "Oy*ii", &capsule, &plain, &compress, &always))
        return NULL;
    context_t *c = context_of(capsule);
    PyObject *result = NULL, *out = NULL;
    size_t size = plain.len, bound;
    if (!c)
        goto end;
    if (size > 1 << 30) {
        PyErr_SetString(PyExc_ValueError, "seal: too large");
        goto end;
    }
    bound = c->zstd.bound(size);
    if (grow(&c->frame, &c->frame_size, bound) || grow(&c->again, &c->again_size, size + 1)) {
        PyErr_NoMemory();
        goto end;
    }
    const unsigned char *body = plain.buf;
    size_t length = size;
    int packed = 0;
    if (compress) {
        size_t done;
        if (size >= LONG_ENOUGH) {
            Py_BEGIN_ALLOW_THREADS
            done = c->zstd.compress(c->compressor, c->frame, bound, plain.buf, size);
            Py_END_ALLOW_THREADS
        } else
            done = c->zstd.compress(c->compressor, c->frame, bound, plain.buf, size);
        if (c->zstd.is_error(done)) {
            failed("zstd fails");
            goto end;
        }
        if (done < size || always)
            body = c->frame, length = done, packed = 1;
    }
    out = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(length + OVERHEAD));
    if (!out)
        goto end;
    unsigned char *sealed = (unsigned char *)PyBytes_AsString(out);
    if (getrandom(sealed, NONCE, 0) != NONCE) {
        failed("the kernel gives no random bytes");
        goto end;
    }
    int sound;
    if (size >= LONG_ENOUGH) {
        Py_BEGIN_ALLOW_THREADS
        sound = seal_into(c, body, length, sealed) ? -1 : proves(c, sealed, length + OVERHEAD, plain.buf, size, packed);
        Py_END_ALLOW_THREADS
    } else
        sound = seal_into(c, body, length, sealed) ? -1 : proves(c, sealed, length + OVERHEAD, plain.buf, size, packed);
    if (sound < 0)
        failed("OpenSSL fails");
    else
        result = sound ? Py_BuildValue("Nn", out, packed ? (Py_ssize_t)size : 0) : Py_BuildValue("");
    if (sound > 0)
        out = NULL;
end:
    if (c)
        shrink(c);
    Py_XDECREF(out);
    PyBuffer_Release(&plain);
    return result;
}

static PyObject *open_sealed(PyObject *self, PyObject *args)
{
    PyObject *capsule;
    Py_buffer sealed;
    Py_ssize_t plain_size;
    (void)self;
    if (!PyArg_ParseTuple(args, "Oy*n", &capsule, &sealed, &plain_size))
        return NULL;
    context_t *c = context_of(capsule);
    PyObject *out = NULL, *result = NULL;
    size_t size = sealed.len;
    if (!c)
        goto end;
    if (size < OVERHEAD || size > 1 << 30 || plain_size < 0 || plain_size > 1 << 30) {
        result = Py_BuildValue("");
        goto end;
    }
    size_t length = plain_size ? (size_t)plain_size : size - OVERHEAD;
    if (plain_size && grow(&c->frame, &c->frame_size, size)) {
        PyErr_NoMemory();
        goto end;
    }
    out = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)length);
    if (!out)
        goto end;
    unsigned char *plain = (unsigned char *)PyBytes_AsString(out);
    int opened;
    size_t got = length;
    if (size >= LONG_ENOUGH || length >= LONG_ENOUGH) {
        Py_BEGIN_ALLOW_THREADS
        opened = open_into(c, sealed.buf, size, plain_size ? c->frame : plain);
        if (opened == 1 && plain_size)
            got = c->zstd.decompress(c->decompressor, plain, length, c->frame, size - OVERHEAD);
        Py_END_ALLOW_THREADS
    } else {
        opened = open_into(c, sealed.buf, size, plain_size ? c->frame : plain);
        if (opened == 1 && plain_size)
            got = c->zstd.decompress(c->decompressor, plain, length, c->frame, size - OVERHEAD);
    }
    if (opened == 1 && got == length) {
        result = out;
        out = NULL;
    } else
        result = Py_BuildValue("");
end:
    if (c)
        shrink(c);
    Py_XDECREF(out);
    PyBuffer_Release(&sealed);
    return result;
}

static PyMethodDef methods[] = {
    {"context", context, METH_VARARGS,
     "context(libcrypto, libzstd, key, level) -> what the other functions take; ImportError if it cannot be"},
    {"seal", seal, METH_VARARGS,
     "seal(context, plain, compress, always) -> (envelope, length of the plaintext if it is compressed, else 0), or None "
     "if it does not open to the same bytes"},
    {"open", open_sealed, METH_VARARGS, "open(context, envelope, plain_size) -> plaintext, or None"},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_sealing", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__sealing(void)
{
    return PyModule_Create(&module);
}
