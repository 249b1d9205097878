// LookupTable::read_sqlite: the library is opened on first use, the database for one statement.
#include <dlfcn.h>
#include <fmt/format.h>
#include <sqlite3.h>

#include <cmath>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "compute/lookup_builder.h"

namespace headwater {
namespace {

struct Sqlite {
  decltype(&sqlite3_open_v2) open_v2 = nullptr;
  decltype(&sqlite3_close) close = nullptr;
  decltype(&sqlite3_errmsg) errmsg = nullptr;
  decltype(&sqlite3_exec) exec = nullptr;
  decltype(&sqlite3_prepare_v2) prepare_v2 = nullptr;
  decltype(&sqlite3_step) step = nullptr;
  decltype(&sqlite3_finalize) finalize = nullptr;
  decltype(&sqlite3_column_count) column_count = nullptr;
  decltype(&sqlite3_column_name) column_name = nullptr;
  decltype(&sqlite3_column_decltype) column_decltype = nullptr;
  decltype(&sqlite3_column_type) column_type = nullptr;
  decltype(&sqlite3_column_int64) column_int64 = nullptr;
  decltype(&sqlite3_column_double) column_double = nullptr;
  decltype(&sqlite3_column_text) column_text = nullptr;
  decltype(&sqlite3_column_bytes) column_bytes = nullptr;
};

template <class Function>
bool take(void* library, const char* name, Function* into) {
  *into = reinterpret_cast<Function>(dlsym(library, name));
  return *into != nullptr;
}

Result<const Sqlite*> load() {
  void* const library = dlopen("libsqlite3.so.0", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    return Error::unavailable("a SQLite table needs libsqlite3 (Debian package libsqlite3-0): {}",
                              dlerror());
  }
  static Sqlite sqlite;
  const bool all = take(library, "sqlite3_open_v2", &sqlite.open_v2) &&
                   take(library, "sqlite3_close", &sqlite.close) &&
                   take(library, "sqlite3_errmsg", &sqlite.errmsg) &&
                   take(library, "sqlite3_exec", &sqlite.exec) &&
                   take(library, "sqlite3_prepare_v2", &sqlite.prepare_v2) &&
                   take(library, "sqlite3_step", &sqlite.step) &&
                   take(library, "sqlite3_finalize", &sqlite.finalize) &&
                   take(library, "sqlite3_column_count", &sqlite.column_count) &&
                   take(library, "sqlite3_column_name", &sqlite.column_name) &&
                   take(library, "sqlite3_column_decltype", &sqlite.column_decltype) &&
                   take(library, "sqlite3_column_type", &sqlite.column_type) &&
                   take(library, "sqlite3_column_int64", &sqlite.column_int64) &&
                   take(library, "sqlite3_column_double", &sqlite.column_double) &&
                   take(library, "sqlite3_column_text", &sqlite.column_text) &&
                   take(library, "sqlite3_column_bytes", &sqlite.column_bytes);
  if (!all) {
    return Error::unavailable("libsqlite3.so.0 cannot be used: it lacks a function");
  }
  return &sqlite;
}

Result<const Sqlite*> library() {
  static const Result<const Sqlite*> loaded = load();
  return loaded;
}

class Database {
 public:
  Database(const Sqlite& sqlite, std::string name) : sqlite_(sqlite), name_(std::move(name)) {}
  ~Database() {
    sqlite_.finalize(statement_);
    sqlite_.close(database_);
  }
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  Status open(const std::string& file) {
    const int opened = sqlite_.open_v2(file.c_str(), &database_,
                                       SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, nullptr);
    if (opened == SQLITE_CANTOPEN) {
      return Error::not_found("{}: {}", name_, sqlite_.errmsg(database_));
    }
    HW_TRY(check(opened));
    // A view must not call functions with side effects, whoever wrote the file.
    return check(sqlite_.exec(database_, "PRAGMA trusted_schema=0; PRAGMA query_only=1", nullptr,
                              nullptr, nullptr));
  }
  Status prepare(const std::string& query) {
    sqlite_.finalize(std::exchange(statement_, nullptr));
    return check(sqlite_.prepare_v2(database_, query.c_str(), -1, &statement_, nullptr));
  }
  // False: there are no more rows.
  Result<bool> step() {
    const int stepped = sqlite_.step(statement_);
    if (stepped != SQLITE_ROW && stepped != SQLITE_DONE) {
      HW_TRY(check(stepped));
    }
    return stepped == SQLITE_ROW;
  }
  sqlite3_stmt* row() const { return statement_; }

 private:
  Status check(int code) const {
    switch (code & 0xFF) {
      case SQLITE_OK:
        return {};
      case SQLITE_BUSY:
      case SQLITE_LOCKED:
        return Error::unavailable("{}: {}", name_, sqlite_.errmsg(database_));
      case SQLITE_CORRUPT:
      case SQLITE_NOTADB:
        return Error::corrupt("{}: {}", name_, sqlite_.errmsg(database_));
      default:
        return Error::invalid("{}: {}", name_, sqlite_.errmsg(database_));
    }
  }

  const Sqlite& sqlite_;
  std::string name_;
  sqlite3* database_ = nullptr;
  sqlite3_stmt* statement_ = nullptr;
};

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  }
  return out;
}

std::string quoted(std::string_view name) {
  std::string text = "\"";
  for (const char c : name) {
    text.append(c == '"' ? 2 : 1, c);
  }
  return text + '"';
}

Status check_table(const Sqlite& sqlite, Database& database, const std::string& name,
                   const std::string& table) {
  HW_TRY(database.prepare(
      "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') ORDER BY name LIMIT 1000"));
  std::vector<std::string> tables;
  while (HW_TRY(database.step())) {
    const auto* const text = reinterpret_cast<const char*>(sqlite.column_text(database.row(), 0));
    tables.emplace_back(text == nullptr ? "" : text);
    if (lower(tables.back()) == lower(table)) {
      return {};
    }
  }
  return Error::invalid(
      "{}: no table '{}'; there {}", name, table,
      tables.empty() ? "is none" : fmt::format("are {}", fmt::join(tables, ", ")));
}

// What an SQL type of a column says; nothing: its values do.
std::optional<Type> declared(const char* text) {
  const std::string type = lower(text == nullptr ? "" : text);
  if (type.find("int") != std::string::npos) {
    return Type::kInt64;
  }
  return type.find("bool") != std::string::npos ? std::optional(Type::kBool) : std::nullopt;
}

// The field's text as a CSV file would have it; `number` is its buffer.
Result<std::string_view> text_of(const Sqlite& sqlite, sqlite3_stmt* row, int column, bool truth,
                                 std::string& number) {
  switch (sqlite.column_type(row, column)) {
    case SQLITE_NULL:
      return std::string_view();
    case SQLITE_INTEGER: {
      const std::int64_t value = sqlite.column_int64(row, column);
      if (truth && (value == 0 || value == 1)) {
        return value == 1 ? std::string_view("true") : "false";
      }
      number = std::to_string(value);
      return std::string_view(number);
    }
    case SQLITE_FLOAT: {
      const double value = sqlite.column_double(row, column);
      // As KeyText and JSON write it: 42, not 42.0.
      number = std::trunc(value) == value && std::fabs(value) < 1e15
                   ? std::to_string(static_cast<std::int64_t>(value))
                   : fmt::format("{}", value);
      return std::string_view(number);
    }
    case SQLITE_TEXT: {
      const auto* const text = reinterpret_cast<const char*>(sqlite.column_text(row, column));
      return text == nullptr
                 ? std::string_view()
                 : std::string_view(text,
                                    static_cast<std::size_t>(sqlite.column_bytes(row, column)));
    }
    default:
      return Error::invalid("is a blob");
  }
}

}  // namespace

Result<LookupTable> LookupTable::read_sqlite(const std::string& file, const std::string& table,
                                             LookupOptions options) {
  const Sqlite& sqlite = *HW_TRY(library());
  const std::string name = options.name;
  const std::size_t max_rows = options.max_rows;
  const std::size_t max_bytes = options.max_bytes;
  Database database(sqlite, name);
  HW_TRY(database.open(file));
  HW_TRY(check_table(sqlite, database, name, table));
  // One row more than is allowed, to see that there are too many.
  HW_TRY(database.prepare(fmt::format("SELECT * FROM {} LIMIT {}", quoted(table), max_rows + 1)));

  std::vector<std::string> header;
  std::vector<bool> truths;
  Schema types;
  for (int i = 0; i < sqlite.column_count(database.row()); ++i) {
    header.emplace_back(sqlite.column_name(database.row(), i));
    const auto type = declared(sqlite.column_decltype(database.row(), i));
    truths.push_back(type == Type::kBool);
    if (type == Type::kInt64) {
      types.set({header.back(), *type, {}});
    }
  }
  const std::size_t columns = header.size();
  LookupBuilder builder(std::move(options), ": row ");
  HW_TRY(builder.header(header, 0));
  builder.declare(types);

  std::vector<std::string> numbers(columns);
  std::vector<std::string_view> fields(columns);
  std::size_t bytes = 0;
  for (std::size_t row = 1; HW_TRY(database.step()); ++row) {
    for (std::size_t i = 0; i < columns; ++i) {
      fields[i] = HW_TRY(text_of(sqlite, database.row(), static_cast<int>(i), truths[i], numbers[i])
                             .with("{}: row {}: column '{}'", name, row, header[i]));
      bytes += fields[i].size();
    }
    if (bytes > max_bytes) {
      return Error::exhausted("{}: row {}: more than {} bytes of values", name, row, max_bytes);
    }
    HW_TRY(builder.add(fields, row));
  }
  return builder.finish();
}

}  // namespace headwater
