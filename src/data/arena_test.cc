#include "data/arena.h"

#include <gtest/gtest.h>
