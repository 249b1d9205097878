#include "base/bytes.h"

#include <gtest/gtest.h>
