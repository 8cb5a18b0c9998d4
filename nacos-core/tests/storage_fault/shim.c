/* Makes calls on the database's files fail while a file of the fault's name is in FAULT_FOLDER:
 *   sync-log        syncing the log: EIO
 *   sync-database   syncing the database: EIO
 *   write-full      writing to either: ENOSPC
 *   write-log-error writing to the log: EIO
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int armed(const char *fault) {
    const char *folder = getenv("FAULT_FOLDER");
    char path[4096];
    if (!folder) return 0;
    snprintf(path, sizeof path, "%s/%s", folder, fault);
    return syscall(SYS_access, path, F_OK) == 0;
}

static int is(int fd, const char *suffix) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path);
    size_t wanted = strlen(suffix);
    return length >= (ssize_t)wanted && memcmp(path + length - wanted, suffix, wanted) == 0;
}

static int fails(int fd, int writing) {
    int log = is(fd, "nacos.db-wal"), database = is(fd, "nacos.db");
    if (writing) {
        if ((log || database) && armed("write-full")) return errno = ENOSPC, 1;
        if (log && armed("write-log-error")) return errno = EIO, 1;
    } else if ((log && armed("sync-log")) || (database && armed("sync-database"))) {
        return errno = EIO, 1;
    }
    return 0;
}

int fsync(int fd) { return fails(fd, 0) ? -1 : (int)syscall(SYS_fsync, fd); }
int fdatasync(int fd) { return fails(fd, 0) ? -1 : (int)syscall(SYS_fdatasync, fd); }

ssize_t write(int fd, const void *from, size_t bytes) {
    return fails(fd, 1) ? -1 : syscall(SYS_write, fd, from, bytes);
}
ssize_t pwrite(int fd, const void *from, size_t bytes, off_t at) {
    return fails(fd, 1) ? -1 : syscall(SYS_pwrite64, fd, from, bytes, at);
}
ssize_t pwrite64(int fd, const void *from, size_t bytes, off_t at) { return pwrite(fd, from, bytes, at); }
