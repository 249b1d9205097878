#include "nodes/sources/file_records.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace headwater {
namespace {

class LineRecords final : public FileRecords {
 public:
  explicit LineRecords(std::size_t max_line) : max_line_(max_line) {}

  void start_at(std::uint64_t offset, std::size_t line) override {
    offset_ = offset;
    line_ = line;
  }

  void feed(std::string_view bytes) override {
    buffer_.erase(0, begin_);
    begin_ = 0;
    buffer_.append(bytes);
  }

  void finish() override { finished_ = true; }

  Result<bool> next(FileRecord& record) override {
    for (;;) {
      const std::size_t newline = buffer_.find('\n', begin_ + scanned_);
      if (newline == std::string::npos && !finished_) {
        shorten();
        return false;
      }
      if (begin_ == buffer_.size()) {
        return false;
      }
      record.begin = offset_;
      record.note = {};
      record.text = take(newline);
      if (!record.text.empty()) {
        return true;
      }
    }
  }

  std::uint64_t offset() const override { return offset_; }
  std::size_t line() const override { return line_; }

 private:
  // Of a line that does not end yet only max_line_ bytes are kept.
  void shorten() {
    const std::size_t size = buffer_.size() - begin_;
    if (size > max_line_) {
      dropped_ += size - max_line_;
      buffer_.resize(begin_ + max_line_);
    }
    scanned_ = buffer_.size() - begin_;
  }

  // The line that begins at begin_ and ends before `newline`, or with the file.
  std::string_view take(std::size_t newline) {
    const std::size_t end = newline == std::string::npos ? buffer_.size() : newline;
    std::string_view line(buffer_.data() + begin_, std::min(end - begin_, max_line_));
    const std::size_t consumed = end - begin_ + (newline == std::string::npos ? 0 : 1);
    begin_ += consumed;
    offset_ += consumed + std::exchange(dropped_, 0);
    scanned_ = 0;
    ++line_;
    if (line.ends_with('\r')) {
      line.remove_suffix(1);
    }
    return line;
  }

  std::size_t max_line_;
  std::string buffer_;
  std::size_t begin_ = 0;      // of the next line in buffer_
  std::size_t scanned_ = 0;    // bytes from there on that hold no newline
  std::uint64_t dropped_ = 0;  // bytes of that line that stood behind max_line_ and are gone
  std::uint64_t offset_ = 0;   // of the next line in the file
  std::size_t line_ = 1;
  bool finished_ = false;
};

class CsvRecords final : public FileRecords {
 public:
  CsvRecords(CsvDocumentOptions csv, std::string header)
      : csv_(std::move(csv)), header_(std::move(header)), reader_(csv_.csv) {}

  void start_at(std::uint64_t offset, std::size_t line) override {
    reader_.start_at(offset, line);
    in_the_middle_ = offset != 0;
  }
  void feed(std::string_view bytes) override { reader_.feed(bytes); }
  void finish() override { reader_.finish(); }

  Result<bool> next(FileRecord& record) override {
    if (broken_) {
      return *broken_;
    }
    if (!objects_) {
      const Result<bool> header = read_header();
      if (!header) {
        broken_ = header.error();
        return *broken_;
      }
      if (!*header) {
        return false;
      }
    }
    const Result<bool> more = reader_.next(row_);
    if (more && !*more) {
      return false;
    }
    if (!more) {
      note_ = more.error().text();
      record.begin = reader_.offset();
      record.text = reader_.skip_line();
      record.note = note_;
      return true;
    }
    record.begin = row_.offset;
    object_.clear();
    if (const Status made = objects_->append(row_, object_); made) {
      record.text = object_;
      record.note = {};
    } else {
      note_ = made.error().text();
      record.text = row_.raw;
      record.note = note_;
    }
    return true;
  }

  std::uint64_t offset() const override { return reader_.offset(); }
  std::size_t line() const override { return reader_.line(); }

 private:
  // False: it is not all there yet.
  Result<bool> read_header() {
    std::vector<std::string_view> names(csv_.columns.begin(), csv_.columns.end());
    CsvReader head(csv_.csv);
    if (names.empty()) {
      CsvReader& from = in_the_middle_ ? head : reader_;
      if (in_the_middle_) {
        head.feed(header_);
      }
      if (!HW_TRY(from.next(row_).with("header"))) {
        if (in_the_middle_) {
          return Error::invalid("header: the file does not begin with a whole line");
        }
        return false;
      }
      names = row_.fields;
    }
    objects_ = HW_TRY(CsvObjects::create(names, csv_.declared).with("header"));
    header_ = {};
    return true;
  }

  CsvDocumentOptions csv_;
  std::string header_;
  CsvReader reader_;
  std::optional<CsvObjects> objects_;
  std::optional<Error> broken_;  // the header
  bool in_the_middle_ = false;
  CsvRow row_;
  std::string object_;
  std::string note_;
};

}  // namespace

std::unique_ptr<FileRecords> make_line_records(std::size_t max_line) {
  return std::make_unique<LineRecords>(max_line);
}

std::unique_ptr<FileRecords> make_csv_records(const CsvDocumentOptions& csv,
                                              std::string_view header) {
  return std::make_unique<CsvRecords>(csv, std::string(header));
}

Status check_csv_header(const CsvDocumentOptions& csv, std::string_view head, bool whole) {
  CsvReader reader(csv.csv);
  reader.feed(head);
  if (whole) {
    reader.finish();
  }
  CsvRow row;
  if (!csv.columns.empty() || !HW_TRY(reader.next(row).with("header"))) {
    return {};
  }
  (void)HW_TRY(CsvObjects::create(row.fields, csv.declared).with("header"));
  return {};
}

}  // namespace headwater
