#include "data/batch.h"

#include <gtest/gtest.h>
