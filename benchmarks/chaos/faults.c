/* Preloaded: counts the writes, fsyncs, renames and HTTP requests of a process, and lets the n-th one fail.
 *
 * Below Python, so that what SQLite, safetensors and tokenizers write is counted too. Nothing happens until chaos_arm.
 * cc -shared -fPIC -O1 -o faults.so faults.c -ldl
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { KILL = 1, FULL = 2, BROKEN = 3, LOST = 4 };

static char root[512];
static int armed, fault, trace = -1, requests, full, reset = -1;
static long target, count;

/* Only files below `below` count; with `http`, only requests that change something do. `log`: a line each goes there. */
void chaos_arm(const char *below, long number, int kind, int http, int log) {
    snprintf(root, sizeof root, "%s/", below);
    target = number, fault = kind, requests = http, trace = log, count = 0, full = 0, reset = -1;
    armed = 1;
}

void chaos_disarm(void) { armed = 0; }

static void say(const char *what, const char *path) {
    char line[1400];
    int size = snprintf(line, sizeof line, "%ld\t%s\t%s\n", count, what, path);
    if (trace >= 0) syscall(SYS_write, trace, line, size);
}

/* Whether this call is to fail, with errno set; a kill does not return. */
static int fails(const char *what, const char *path, int takes_space) {
    count++;
    say(what, path);
    if (full && takes_space) return errno = ENOSPC, 1;
    if (count != target) return 0;
    if (fault == KILL) {
        syscall(SYS_kill, getpid(), SIGKILL);
        for (;;) pause();
    }
    if (fault == FULL) full = 1; /* and stays so */
    errno = fault == FULL ? ENOSPC : EIO;
    return fault == FULL || fault == BROKEN;
}

static int below(const char *path) { return strncmp(path, root, strlen(root)) == 0; }

static int fails_on(int fd, const char *what, int takes_space) {
    char link[64], path[1024];
    if (!armed || requests) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    int saved = errno, size = (int)readlink(link, path, sizeof path - 1);
    errno = saved;
    if (size <= 0) return 0;
    path[size] = 0;
    return below(path) && fails(what, path, takes_space);
}

static void *real(void **found, const char *name) {
    if (!*found) *found = dlsym(RTLD_NEXT, name);
    return *found;
}

#define REAL(name) ((__typeof__(&name))real(&real_##name, #name))
#define WRAP(type, name, parameters, arguments, failing)                                                               \
    static void *real_##name;                                                                                          \
    type name parameters { return (failing) ? -1 : REAL(name) arguments; }

WRAP(ssize_t, write, (int fd, const void *data, size_t size), (fd, data, size), fails_on(fd, "write", 1))
WRAP(ssize_t, writev, (int fd, const struct iovec *data, int n), (fd, data, n), fails_on(fd, "write", 1))
WRAP(ssize_t, pwrite, (int fd, const void *data, size_t size, off_t at), (fd, data, size, at), fails_on(fd, "write", 1))
WRAP(ssize_t, pwrite64, (int fd, const void *data, size_t size, off64_t at), (fd, data, size, at), fails_on(fd, "write", 1))
WRAP(ssize_t, sendfile, (int out, int in, off_t *at, size_t size), (out, in, at, size), fails_on(out, "write", 1))
WRAP(ssize_t, sendfile64, (int out, int in, off64_t *at, size_t size), (out, in, at, size), fails_on(out, "write", 1))
WRAP(ssize_t, copy_file_range, (int in, off64_t *i, int out, off64_t *o, size_t size, unsigned flags), (in, i, out, o, size, flags), fails_on(out, "write", 1))
WRAP(int, ftruncate64, (int fd, off64_t size), (fd, size), fails_on(fd, "write", 1))
WRAP(int, fsync, (int fd), (fd), fails_on(fd, "fsync", 0))
WRAP(int, fdatasync, (int fd), (fd), fails_on(fd, "fsync", 0))
WRAP(int, rename, (const char *from, const char *to), (from, to), armed && !requests && below(to) && fails("rename", to, 0))
WRAP(int, renameat, (int a, const char *from, int b, const char *to), (a, from, b, to), armed && !requests && below(to) && fails("rename", to, 0))

static int is_change(const void *data, size_t size) {
    static const char *methods[] = {"POST ", "PATCH ", "PUT ", "DELETE "};
    for (int i = 0; i < 4; i++)
        if (size > strlen(methods[i]) && memcmp(data, methods[i], strlen(methods[i])) == 0) return 1;
    return 0;
}

static void *real_send, *real_recv;

ssize_t send(int fd, const void *data, size_t size, int flags) {
    if (armed && requests && is_change(data, size)) {
        char line[160];
        int length = (int)strcspn(data, "\r\n");
        snprintf(line, sizeof line, "%.*s", length < 150 ? length : 150, (const char *)data);
        if (fails("POST", line, 0)) return -1;
        if (count == target && fault == LOST) reset = fd;
    }
    return REAL(send)(fd, data, size, flags);
}

/* The request was carried out, and nobody hears of it. */
ssize_t recv(int fd, void *data, size_t size, int flags) {
    if (armed && fd == reset) {
        struct pollfd answer = {fd, POLLIN, 0};
        poll(&answer, 1, 60000);
        reset = -1;
        return errno = ECONNRESET, -1;
    }
    return REAL(recv)(fd, data, size, flags);
}
