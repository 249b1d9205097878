// A message that is a JSON array, taken apart into the bytes of its elements without reading them.
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace headwater {

// Whether the first byte that is no white space opens an array. No more is looked at.
bool is_json_array(std::string_view text);

// The elements of the array that `text` is, without the white space around them; views into `text`.
// Strings and brackets are followed, nothing else: an element may be no JSON, and its reader then
// says so. On an error `elements` is empty. Invalid: no array, brackets that do not close, an
// element without a byte, bytes behind the array. Exhausted: more than `max` elements.
Status split_json_array(std::string_view text, std::size_t max,
                        std::vector<std::string_view>& elements);

// The same for a text that is an object or an array: an object is its one element.
Status split_json_document(std::string_view text, std::size_t max,
                           std::vector<std::string_view>& elements);

}  // namespace headwater
