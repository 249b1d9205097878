#include "base/crc32c.h"

#include <gtest/gtest.h>
