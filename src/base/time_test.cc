#include "base/time.h"

#include <gtest/gtest.h>
