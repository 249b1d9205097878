#include "compute/csv.h"

#include <algorithm>
#include <utility>

namespace headwater {

void CsvReader::start_at(std::uint64_t offset, std::size_t line) {
  base_ = offset;
  line_ = line;
}

void CsvReader::feed(std::string_view bytes) {
  if (at_ > 0) {
    buffer_.erase(0, at_);
    base_ += at_;
    at_ = 0;
  }
  buffer_.append(bytes);
}

// Whether all is there that skip_line() gives of a record that is bad at `from`: what it gives does
// not depend on how the bytes came.
bool CsvReader::line_is_whole(std::size_t from) const {
  return finished_ || buffer_.size() - at_ > options_.max_record_bytes ||
         buffer_.find('\n', from) != std::string::npos;
}

std::string_view CsvReader::skip_line() {
  const std::string_view rest = std::string_view(buffer_).substr(at_);
  std::string_view line = rest.substr(0, rest.find('\n'));
  line = line.substr(0, options_.max_record_bytes);
  skipping_ = true;
  const std::size_t begin = at_;
  skip_rest();
  line = std::string_view(buffer_).substr(begin, line.size());
  if (line.ends_with('\r')) {
    line.remove_suffix(1);
  }
  return line;
}

void CsvReader::skip_rest() {
  const std::size_t end = buffer_.find('\n', at_);
  if (end != std::string::npos) {
    at_ = end + 1;
    ++line_;
    skipping_ = false;
  } else {
    at_ = buffer_.size();
    skipping_ = !finished_;
  }
}

Result<bool> CsvReader::next(CsvRow& row) {
  if (skipping_) {
    skip_rest();
  }
  for (;;) {
    switch (HW_TRY(scan_record(row))) {
      case Scan::kRecord:
        return true;
      case Scan::kMore:
        return false;
      case Scan::kBlank:
        break;
    }
  }
}

// Reads the record at at_. Quoted fields are unescaped in place: behind the record's start the
// buffer is ours. Nothing is kept of a record that is not whole yet, so its bytes are looked at
// again when more come; max_record_bytes bounds that.
Result<CsvReader::Scan> CsvReader::scan_record(CsvRow& row) {
  constexpr std::string_view kMark = "\xEF\xBB\xBF";
  if (base_ + at_ == 0) {
    const std::size_t size = std::min(buffer_.size(), kMark.size());
    if (size > 0 && buffer_.compare(0, size, kMark.substr(0, size)) == 0) {
      if (size < kMark.size() && !finished_) {
        return Scan::kMore;
      }
      at_ += size == kMark.size() ? size : 0;
    }
  }
  const std::size_t end = buffer_.size();
  std::size_t at = at_;
  if (at == end) {
    return Scan::kMore;
  }
  std::size_t lines = 0;
  bool whole = false;
  bool rewrite = false;
  spans_.clear();
  while (!whole) {
    if (spans_.size() >= options_.max_fields) {
      if (!line_is_whole(at)) {
        return Scan::kMore;
      }
      return Error::invalid("line {}: more than {} fields", line_, options_.max_fields);
    }
    const std::size_t begin = at;
    std::size_t stop = at;  // of the field's bytes
    if (at < end && buffer_[at] == '"') {
      bool closed = false;
      ++at;
      while (at < end) {
        if (buffer_[at] == '\n') {
          ++lines;
        }
        if (buffer_[at] != '"') {
          ++at;
        } else if (at + 1 < end && buffer_[at + 1] == '"') {
          rewrite = true;
          at += 2;
        } else {
          closed = true;
          break;
        }
      }
      if (!closed) {
        if (finished_) {
          return Error::invalid("line {}: a field in quotes does not end", line_);
        }
        break;
      }
      if (at + 1 == end && !finished_) {
        break;  // the next byte may double the quote
      }
      stop = ++at;
      if (at < end && buffer_[at] == '\r' && at + 1 == end && !finished_) {
        break;
      }
      const bool line_end =
          at < end && (buffer_[at] == '\n' ||
                       (buffer_[at] == '\r' && at + 1 < end && buffer_[at + 1] == '\n') ||
                       (buffer_[at] == '\r' && at + 1 == end));
      if (at < end && !line_end && buffer_[at] != options_.delimiter) {
        if (!line_is_whole(at)) {
          return Scan::kMore;
        }
        return Error::invalid("line {}: bytes behind the closing quote of field {}", line_ + lines,
                              spans_.size() + 1);
      }
    } else {
      while (at < end && buffer_[at] != options_.delimiter && buffer_[at] != '\n') {
        ++at;
      }
      stop = at;
      if (stop > begin && (at == end ? finished_ : buffer_[at] == '\n') &&
          buffer_[stop - 1] == '\r') {
        --stop;
      }
    }
    spans_.emplace_back(begin, stop);
    if (at == end) {
      if (!finished_) {
        break;
      }
      whole = true;
    } else if (buffer_[at] == options_.delimiter) {
      ++at;
    } else {
      at += buffer_[at] == '\r' ? 1 : 0;
      at += at < end ? 1 : 0;  // the line feed
      ++lines;
      whole = true;
    }
  }
  if (at - at_ > options_.max_record_bytes) {
    return Error::invalid("line {}: a record of more than {} bytes", line_,
                          options_.max_record_bytes);
  }
  if (!whole) {
    return Scan::kMore;
  }
  row.line = line_;
  row.offset = base_ + at_;
  row.fields.clear();
  row.raw = std::string_view(buffer_).substr(at_, at - at_);
  while (row.raw.ends_with('\n') || row.raw.ends_with('\r')) {
    row.raw.remove_suffix(1);
  }
  if (rewrite) {
    raw_ = row.raw;
    row.raw = raw_;
  }
  const bool blank = spans_.size() == 1 && spans_[0].first == spans_[0].second;
  line_ += lines;
  at_ = at;
  if (blank) {
    return Scan::kBlank;
  }
  for (const auto& [begin, stop] : spans_) {
    std::string_view field(buffer_.data() + begin, stop - begin);
    if (!field.empty() && field[0] == '"') {
      field = field.substr(1, field.size() - 2);
      if (rewrite && field.find('"') != std::string_view::npos) {
        char* const out = buffer_.data() + begin + 1;
        std::size_t size = 0;
        for (std::size_t i = 0; i < field.size(); ++i) {
          out[size++] = field[i];
          i += field[i] == '"' ? 1 : 0;
        }
        field = {out, size};
      }
    }
    row.fields.push_back(field);
  }
  return Scan::kRecord;
}

}  // namespace headwater
