// Preloaded, it makes syncs do nothing: the same program without durability, for comparison.
#include <unistd.h>

int fsync(int fd) {
  (void)fd;
  return 0;
}

int fdatasync(int fd) {
  (void)fd;
  return 0;
}
