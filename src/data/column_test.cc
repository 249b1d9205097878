#include "data/column.h"

#include <gtest/gtest.h>
