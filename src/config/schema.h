// One declaration per options struct: from it come parsing, checks, help, the reference and the
// JSON Schema. The default stands in the struct, all else here; a member without a field does not
// compile.
//
//   enum class OnFull { kShedOldest, kRefuse, kBlock };
//   template <>
//   inline constexpr auto headwater::config::kEnumNames<OnFull> = enum_names<OnFull>(
//       {{"shed_oldest", OnFull::kShedOldest},
//        {"refuse", OnFull::kRefuse},
//        {"block", OnFull::kBlock}});
//
//   struct StoreOptions {
//     ByteSize max_bytes{2ULL << 30};
//     OnFull on_full = OnFull::kShedOldest;
//     std::optional<Duration> keep;
//     Status validate() const;          // optional: rules that need more than one field
//   };
//   template <>
//   inline constexpr auto headwater::config::kSchema<StoreOptions> = schema<StoreOptions>(
//       "store", "The local log.",
//       field(&StoreOptions::max_bytes,
//             {.name = "max_bytes", .doc = "Upper bound on disk.", .min = ByteSize{1 << 20}}),
//       field(&StoreOptions::on_full,
//             {.name = "on_full", .doc = "What happens when it is full."}),
//       field(&StoreOptions::keep,
//             {.name = "keep", .doc = "Age at which rows may go.", .live = true}));
//
// (A specialisation is written in namespace headwater or at global scope, with `using
// headwater::config::field` or in full.)
//
// Member types: bool, integers, float, double, std::string, Duration, ByteSize, Path, Secret,
// Endpoint, enums with kEnumNames, structs with a kSchema, std::optional<T>, std::vector<T>, Map<T>
// (names to T), Node (a subtree kept as it is, for options that another schema reads later).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <vector>

#include "base/result.h"
#include "config/node.h"
#include "config/types.h"

namespace headwater::config {

// A lower or upper bound in the unit of its field: a number, a Duration or a ByteSize.
struct Bound {
  double value = 0;
  bool set = false;

  constexpr Bound() = default;
  template <class N>
  requires std::is_arithmetic_v<N>
  constexpr Bound(N number) : value(static_cast<double>(number)), set(true) {}  // NOLINT: implicit
  template <class Rep, class Period>
  constexpr Bound(std::chrono::duration<Rep, Period> time)  // NOLINT
      : value(static_cast<double>(Nanos(time).count())), set(true) {}
  constexpr Bound(ByteSize size)  // NOLINT
      : value(static_cast<double>(size.bytes)), set(true) {}
};

// A short list of words, written {"a", "b"}.
class Words {
 public:
  static constexpr std::size_t kMost = 12;
  constexpr Words() = default;
  template <class... W>
  requires(sizeof...(W) > 0 && sizeof...(W) <= kMost &&
           (std::is_convertible_v<W, std::string_view> && ...)) constexpr Words(W... words)
      : words_{words...}, size_(sizeof...(W)) {}  // NOLINT: implicit
  constexpr const std::string_view* begin() const { return words_.data(); }
  constexpr const std::string_view* end() const { return words_.data() + size_; }
  constexpr std::size_t size() const { return size_; }
  constexpr bool empty() const { return size_ == 0; }

 private:
  std::array<std::string_view, kMost> words_{};
  std::size_t size_ = 0;
};

enum class Audience : std::uint8_t {
  kUser,
  kTuning,      // shown after the others, marked "tuning"
  kDeprecated,  // works, warns, not in the help
};

struct FieldMeta {
  std::string_view name{};
  std::string_view doc{};      // one or two sentences with a full stop
  std::string_view unit{};     // for plain numbers: "rows", "°C", "ratio"
  std::string_view example{};  // as it stands in YAML
  std::string_view env{};      // an environment variable beside HEADWATER_…: "BATCH_SIZE"
  Words aliases{};             // old names: accepted with a warning
  Bound min{};                 // inclusive; of a list or map: of its size
  Bound max{};
  Words choices{};  // of a string
  bool required = false;
  bool secret = false;     // shown as "***" (a Secret member is so by its type)
  bool live = false;       // a change needs no restart
  bool shorthand = false;  // a scalar or list in place of this struct's mapping is this field
  bool flatten = false;    // a struct whose fields stand beside this struct's own
  Audience audience = Audience::kUser;
};

template <class T, class Member>
struct Field {
  Member T::*member;
  FieldMeta meta;
};

template <class T, class Member>
constexpr Field<T, Member> field(Member T::*member, FieldMeta meta) {
  return {member, meta};
}

template <class T, class... Members>
struct Schema {
  std::string_view name;
  std::string_view doc;
  std::tuple<Field<T, Members>...> fields;
};

struct NoSchema {};
// Specialise it for each options struct.
template <class T>
inline constexpr NoSchema kSchema{};

template <class T>
concept HasSchema = !std::is_same_v<std::remove_cv_t<decltype(kSchema<T>)>, NoSchema>;

struct EnumName {
  std::string_view name;
  std::int64_t value = 0;
};
// Specialise it for each enum, with enum_names().
template <class E>
inline constexpr NoSchema kEnumNames{};

template <class E, std::size_t N>
constexpr std::array<EnumName, N> enum_names(
    const std::array<std::pair<std::string_view, E>, N>& names) {
  std::array<EnumName, N> out{};
  for (std::size_t i = 0; i < N; ++i) {
    out[i] = {names[i].first, static_cast<std::int64_t>(names[i].second)};
  }
  return out;
}
// enum_names<E>({{"a", E::kA}, {"b", E::kB}})
template <class E, std::size_t N>
constexpr std::array<EnumName, N> enum_names(const std::pair<std::string_view, E> (&names)[N]) {
  std::array<EnumName, N> out{};
  for (std::size_t i = 0; i < N; ++i) {
    out[i] = {names[i].first, static_cast<std::int64_t>(names[i].second)};
  }
  return out;
}

// Without a template parameter from here on: what the parser and the writers walk.

class SchemaView;

struct Type {
  enum class Kind : std::uint8_t {
    kBool,
    kInteger,
    kNumber,
    kString,
    kDuration,
    kSize,
    kPath,
    kSecret,
    kEndpoint,
    kEnum,
    kOptional,
    kList,
    kMap,
    kStruct,
    kNode,
  };
  Kind kind;
  std::uint8_t bytes = 0;  // of an integer, number or enum
  bool is_signed = false;
  const Type* element = nullptr;            // of an optional, list or map
  const SchemaView& (*schema)() = nullptr;  // of a struct
  std::span<const EnumName> names{};        // of an enum
  // Optional, list and map: empties it; adds an element and returns it; visits elements in order.
  void (*clear)(void* container) = nullptr;
  void* (*append)(void* container, std::string_view name) = nullptr;
  std::size_t (*size)(const void* container) = nullptr;
  const void* (*at)(const void* container, std::size_t index, std::string_view* name) = nullptr;
};

struct FieldView {
  FieldMeta meta;
  const Type* type = nullptr;
  std::size_t offset = 0;

  void* of(void* object) const { return static_cast<std::byte*>(object) + offset; }
  const void* of(const void* object) const {
    return static_cast<const std::byte*>(object) + offset;
  }
};

class SchemaView {
 public:
  std::string_view name;
  std::string_view doc;
  std::vector<FieldView> fields;
  const void* defaults = nullptr;                    // a default-constructed T
  Status (*validate)(const void* object) = nullptr;  // null when T has no validate()

  const FieldView* shorthand() const;
  // By name or alias, also within flattened structs.
  bool knows(std::string_view option) const;
};

// The view of T's schema; built on first use, lives as long as the program. Thread-safe.
template <HasSchema T>
const SchemaView& view();

namespace detail {

template <class T>
concept Validates = requires(const T& options) {
  { options.validate() } -> std::same_as<Status>;
};

// Whether T{ {}, {}, … } with N initialisers is valid. `{}` fits every member that has a default,
// so T has exactly N members when N fit and N + 1 do not.
template <class T, std::size_t N>
inline constexpr bool kAccepts = false;
#define HW_ACCEPTS(N, ...)                          \
  template <class T>                                \
  inline constexpr bool kAccepts<T, N> = requires { \
    T{__VA_ARGS__};                                 \
  };
#define HW_4 \
  {}, {}, {}, {}
#define HW_8 HW_4, HW_4
#define HW_16 HW_8, HW_8
#define HW_24 HW_16, HW_8
#define HW_ACCEPTS_FROM(N, ...)          \
  HW_ACCEPTS(N, __VA_ARGS__)             \
  HW_ACCEPTS(N + 1, __VA_ARGS__, {})     \
  HW_ACCEPTS(N + 2, __VA_ARGS__, {}, {}) \
  HW_ACCEPTS(N + 3, __VA_ARGS__, {}, {}, {})
HW_ACCEPTS(1, {})
HW_ACCEPTS(2, {}, {})
HW_ACCEPTS(3, {}, {}, {})
HW_ACCEPTS_FROM(4, HW_4)
HW_ACCEPTS_FROM(8, HW_8)
HW_ACCEPTS_FROM(12, HW_8, HW_4)
HW_ACCEPTS_FROM(16, HW_16)
HW_ACCEPTS_FROM(20, HW_16, HW_4)
HW_ACCEPTS_FROM(24, HW_24)
HW_ACCEPTS_FROM(28, HW_24, HW_4)
HW_ACCEPTS_FROM(32, HW_24, HW_8)
HW_ACCEPTS_FROM(36, HW_24, HW_8, HW_4)
#undef HW_ACCEPTS_FROM
#undef HW_24
#undef HW_16
#undef HW_8
#undef HW_4
#undef HW_ACCEPTS
inline constexpr std::size_t kMostMembers = 38;

template <class T, std::size_t N>
inline constexpr bool kHasMembers = kAccepts<T, N> && !kAccepts<T, N + 1>;

template <std::size_t N>
constexpr bool complete_and_distinct(const std::array<FieldMeta, N>& fields) {
  for (std::size_t i = 0; i < N; ++i) {
    if (fields[i].name.empty() || (fields[i].doc.empty() && !fields[i].flatten)) {
      return false;
    }
    for (std::size_t j = 0; j < i; ++j) {
      if (fields[i].name == fields[j].name) {
        return false;
      }
    }
  }
  return true;
}

// Not defined: calling it in a constant expression is the compile error.
void every_field_needs_a_name_of_its_own_and_a_doc();

template <class T>
struct TypeOf;

template <class T>
inline constexpr Type kTypeOf = TypeOf<T>::value();

template <class T>
requires std::is_arithmetic_v<T>
struct TypeOf<T> {
  static constexpr Type value() {
    using Kind = Type::Kind;
    constexpr Kind kind = std::is_same_v<T, bool>       ? Kind::kBool
                          : std::is_floating_point_v<T> ? Kind::kNumber
                                                        : Kind::kInteger;
    return {.kind = kind, .bytes = sizeof(T), .is_signed = std::is_signed_v<T>};
  }
};
template <class E>
requires std::is_enum_v<E>
struct TypeOf<E> {
  static_assert(!std::is_same_v<std::remove_cv_t<decltype(kEnumNames<E>)>, NoSchema>,
                "this enum needs a kEnumNames specialisation");
  static constexpr Type value() {
    return {.kind = Type::Kind::kEnum, .bytes = sizeof(E), .names = kEnumNames<E>};
  }
};
template <HasSchema T>
struct TypeOf<T> {
  static constexpr Type value() { return {.kind = Type::Kind::kStruct, .schema = &view<T>}; }
};
template <>
struct TypeOf<std::string> {
  static constexpr Type value() { return {.kind = Type::Kind::kString}; }
};
template <>
struct TypeOf<Duration> {
  static constexpr Type value() { return {.kind = Type::Kind::kDuration}; }
};
template <>
struct TypeOf<ByteSize> {
  static constexpr Type value() { return {.kind = Type::Kind::kSize}; }
};
template <>
struct TypeOf<Path> {
  static constexpr Type value() { return {.kind = Type::Kind::kPath}; }
};
template <>
struct TypeOf<Secret> {
  static constexpr Type value() { return {.kind = Type::Kind::kSecret}; }
};
template <>
struct TypeOf<Endpoint> {
  static constexpr Type value() { return {.kind = Type::Kind::kEndpoint}; }
};
template <>
struct TypeOf<Node> {
  static constexpr Type value() { return {.kind = Type::Kind::kNode}; }
};
template <class T>
struct TypeOf<std::optional<T>> {
  using Container = std::optional<T>;
  static constexpr Type value() {
    return {.kind = Type::Kind::kOptional,
            .element = &kTypeOf<T>,
            .clear = [](void* container) { static_cast<Container*>(container)->reset(); },
            .append = [](void* container, std::string_view) -> void* {
              return &static_cast<Container*>(container)->emplace();
            },
            .size = [](const void* container) -> std::size_t {
              return static_cast<const Container*>(container)->has_value() ? 1 : 0;
            },
            .at = [](const void* container, std::size_t, std::string_view*) -> const void* {
              return &**static_cast<const Container*>(container);
            }};
  }
};
template <class T>
struct TypeOf<std::vector<T>> {
  static_assert(!std::is_same_v<T, bool>, "std::vector<bool> has no addressable items");
  using Container = std::vector<T>;
  static constexpr Type value() {
    return {.kind = Type::Kind::kList,
            .element = &kTypeOf<T>,
            .clear = [](void* container) { static_cast<Container*>(container)->clear(); },
            .append = [](void* container, std::string_view) -> void* {
              return &static_cast<Container*>(container)->emplace_back();
            },
            .size = [](const void* container) -> std::size_t {
              return static_cast<const Container*>(container)->size();
            },
            .at = [](const void* container, std::size_t index, std::string_view*) -> const void* {
              return &(*static_cast<const Container*>(container))[index];
            }};
  }
};
template <class T>
struct TypeOf<Map<T>> {
  using Container = Map<T>;
  static constexpr Type value() {
    return {
        .kind = Type::Kind::kMap,
        .element = &kTypeOf<T>,
        .clear = [](void* container) { static_cast<Container*>(container)->clear(); },
        .append = [](void* container, std::string_view name) -> void* {
          return &(*static_cast<Container*>(container))[name];
        },
        .size = [](const void* container) -> std::size_t {
          return static_cast<const Container*>(container)->size();
        },
        .at = [](const void* container, std::size_t index, std::string_view* name) -> const void* {
          const auto& entry = *(static_cast<const Container*>(container)->begin() +
                                static_cast<std::ptrdiff_t>(index));
          *name = entry.first;
          return &entry.second;
        }};
  }
};

template <class T, class Member>
FieldView field_view(const T& object, const Field<T, Member>& field) {
  const auto* base = reinterpret_cast<const std::byte*>(&object);
  const auto* member = reinterpret_cast<const std::byte*>(&(object.*field.member));
  return {field.meta, &kTypeOf<Member>, static_cast<std::size_t>(member - base)};
}

template <class T, class... Members>
void add_fields(std::vector<FieldView>& views, const T& object,
                const Schema<T, Members...>& schema) {
  const auto add = [&]<std::size_t... I>(std::index_sequence<I...>) {
    views = {field_view(object, std::get<I>(schema.fields))...};
  };
  add(std::index_sequence_for<Members...>{});
}

}  // namespace detail

template <class T, class... Members>
constexpr Schema<T, Members...> schema(std::string_view name, std::string_view doc,
                                       Field<T, Members>... fields) {
  static_assert(std::is_aggregate_v<T>, "an options struct is a plain aggregate");
  static_assert(sizeof...(Members) <= detail::kMostMembers, "split this options struct");
  static_assert(detail::kHasMembers<T, sizeof...(Members)>,
                "each member of an options struct needs exactly one field() in its schema");
  if (!detail::complete_and_distinct(std::array<FieldMeta, sizeof...(Members)>{fields.meta...})) {
    detail::every_field_needs_a_name_of_its_own_and_a_doc();
  }
  return {name, doc, {fields...}};
}

template <HasSchema T>
const SchemaView& view() {
  static const SchemaView* const kView = [] {
    auto* made = new SchemaView;
    const T* defaults = new T{};
    made->name = kSchema<T>.name;
    made->doc = kSchema<T>.doc;
    made->defaults = defaults;
    detail::add_fields(made->fields, *defaults, kSchema<T>);
    if constexpr (detail::Validates<T>) {
      made->validate = [](const void* object) { return static_cast<const T*>(object)->validate(); };
    }
    return made;
  }();
  return *kView;
}

}  // namespace headwater::config
