#include "base/strings.h"

#include <gtest/gtest.h>
