#include "nodes/decode/unpack.h"

#include "base/bytes.h"
#include "compute/json_array.h"

namespace headwater {
namespace {

// Separates identities of a message's elements from others.
constexpr std::uint64_t kElementSeed = 0x656c656d656e7473ULL;

Id128 element_identity(const Id128& message, std::size_t index) {
  if (message == Id128{}) {
    return message;
  }
  std::string bytes;
  ByteWriter writer(bytes);
  writer.put(message.high);
  writer.put(message.low);
  writer.put(static_cast<std::uint64_t>(index));
  return hash128(bytes, kElementSeed);
}

}  // namespace

void Unpacker::unpack(Batch& batch) {
  const auto packed = [&](const Row& row) {
    return (row.flags & (kRowUndecoded | kRowOffline)) == 0 &&
           (options_.csv || is_json_array(row.payload));
  };
  std::size_t first = 0;
  while (first < batch.rows() && !packed(batch.row(first))) {
    ++first;
  }
  if (first == batch.rows()) {
    return;
  }
  const std::span<const Row> messages = batch.all_rows();
  rows_.assign(messages.begin(), messages.begin() + static_cast<std::ptrdiff_t>(first));
  for (std::size_t i = first; i < messages.size(); ++i) {
    const Row& row = messages[i];
    if (!packed(row)) {
      rows_.push_back(row);
    } else if (options_.csv) {
      document(batch, row);
    } else {
      array(batch, row);
    }
  }
  batch.replace_rows(rows_);
}

void Unpacker::array(Batch& batch, const Row& row) {
  if (Status split = split_json_array(row.payload, options_.max_elements, elements_); !split) {
    refuse(batch, row, split.error().text());
  } else if (elements_.empty()) {
    refuse(batch, row, "an array without an element");
  }
  for (std::size_t i = 0; i < elements_.size(); ++i) {
    add(row, i, elements_[i]);
  }
}

void Unpacker::document(Batch& batch, const Row& row) {
  const std::size_t before = rows_.size();
  const Status read = read_csv_document(row.payload, *options_.csv,
                                        [&](std::string_view text, std::string_view reason) {
                                          const std::size_t index = rows_.size() - before;
                                          add(row, index, batch.arena().copy(text));
                                          if (!reason.empty()) {
                                            rows_.back().flags |= kRowUndecoded;
                                            rows_.back().note = batch.arena().copy(reason);
                                          }
                                        });
  if (!read) {
    rows_.resize(before);
    refuse(batch, row, read.error().text());
  } else if (rows_.size() == before) {
    refuse(batch, row, "a CSV text without a record");
  }
}

void Unpacker::refuse(Batch& batch, Row row, std::string_view reason) {
  row.flags |= kRowUndecoded;
  row.note = batch.arena().copy(reason);
  rows_.push_back(row);
}

void Unpacker::add(Row row, std::size_t index, std::string_view payload) {
  row.payload = payload;
  row.identity = element_identity(row.identity, index);
  rows_.push_back(row);
}

}  // namespace headwater
