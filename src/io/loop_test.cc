#include "io/loop.h"

#include <gtest/gtest.h>
