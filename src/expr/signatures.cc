#include "expr/functions.h"

namespace headwater::expr {
namespace {

constexpr Type kB = Type::kBool;
constexpr Type kI = Type::kInt;
constexpr Type kD = Type::kDouble;
constexpr Type kS = Type::kString;
constexpr Type kT = Type::kTimestamp;
constexpr Type kU = Type::kDuration;
constexpr Type kL = Type::kList;
constexpr Type kAny = Type::kDyn;

constexpr Form kF = Form::kFunction;
constexpr Form kM = Form::kMethod;
constexpr Form kBoth = Form::kBoth;

// An int operand of a double function is listed where the meaning is plain; math.* is CEL's library
// and as strict as it. Exact overloads stand before those that convert.
constexpr Signature kSignatures[] = {
    {"size", kBoth, Fn::kSize, kI, 1, false, {kS}},
    {"size", kBoth, Fn::kSize, kI, 1, false, {kL}},
    {"startsWith", kM, Fn::kStartsWith, kB, 2, false, {kS, kS}},
    {"endsWith", kM, Fn::kEndsWith, kB, 2, false, {kS, kS}},
    {"contains", kM, Fn::kContains, kB, 2, false, {kS, kS}},
    {"matches", kBoth, Fn::kMatches, kB, 2, false, {kS, kS}},
    {"lower", kBoth, Fn::kLower, kS, 1, false, {kS}},
    {"upper", kBoth, Fn::kUpper, kS, 1, false, {kS}},
    {"lowerAscii", kM, Fn::kLower, kS, 1, false, {kS}},
    {"upperAscii", kM, Fn::kUpper, kS, 1, false, {kS}},
    {"trim", kBoth, Fn::kTrim, kS, 1, false, {kS}},

    {"abs", kF, Fn::kAbs, kI, 1, false, {kI}},
    {"abs", kF, Fn::kAbs, kD, 1, false, {kD}},
    {"math.abs", kF, Fn::kAbs, kI, 1, false, {kI}},
    {"math.abs", kF, Fn::kAbs, kD, 1, false, {kD}},
    {"sign", kF, Fn::kSign, kI, 1, false, {kI}},
    {"sign", kF, Fn::kSign, kD, 1, false, {kD}},
    {"math.sign", kF, Fn::kSign, kI, 1, false, {kI}},
    {"math.sign", kF, Fn::kSign, kD, 1, false, {kD}},
    {"min", kF, Fn::kMin, kI, 1, true, {kI}},
    {"min", kF, Fn::kMin, kD, 1, true, {kD}},
    {"min", kF, Fn::kMin, kAny, 1, false, {kL}},
    {"math.least", kF, Fn::kMin, kI, 1, true, {kI}},
    {"math.least", kF, Fn::kMin, kD, 1, true, {kD}},
    {"math.least", kF, Fn::kMin, kAny, 1, false, {kL}},
    {"max", kF, Fn::kMax, kI, 1, true, {kI}},
    {"max", kF, Fn::kMax, kD, 1, true, {kD}},
    {"max", kF, Fn::kMax, kAny, 1, false, {kL}},
    {"math.greatest", kF, Fn::kMax, kI, 1, true, {kI}},
    {"math.greatest", kF, Fn::kMax, kD, 1, true, {kD}},
    {"math.greatest", kF, Fn::kMax, kAny, 1, false, {kL}},
    {"clamp", kF, Fn::kClamp, kI, 3, false, {kI, kI, kI}},
    {"clamp", kF, Fn::kClamp, kD, 3, false, {kD, kD, kD}},
    {"sqrt", kF, Fn::kSqrt, kD, 1, false, {kD}},
    {"sqrt", kF, Fn::kSqrt, kD, 1, false, {kI}},
    {"math.sqrt", kF, Fn::kSqrt, kD, 1, false, {kD}},
    {"math.sqrt", kF, Fn::kSqrt, kD, 1, false, {kI}},
    {"log", kF, Fn::kLog, kD, 1, false, {kD}},
    {"log", kF, Fn::kLog, kD, 1, false, {kI}},
    {"log10", kF, Fn::kLog10, kD, 1, false, {kD}},
    {"log10", kF, Fn::kLog10, kD, 1, false, {kI}},
    {"exp", kF, Fn::kExp, kD, 1, false, {kD}},
    {"exp", kF, Fn::kExp, kD, 1, false, {kI}},
    {"pow", kF, Fn::kPow, kD, 2, false, {kD, kD}},
    {"round", kF, Fn::kRound, kD, 1, false, {kD}},
    {"round", kF, Fn::kRound, kI, 1, false, {kI}},
    {"math.round", kF, Fn::kRound, kD, 1, false, {kD}},
    {"ceil", kF, Fn::kCeil, kD, 1, false, {kD}},
    {"ceil", kF, Fn::kCeil, kI, 1, false, {kI}},
    {"math.ceil", kF, Fn::kCeil, kD, 1, false, {kD}},
    {"floor", kF, Fn::kFloor, kD, 1, false, {kD}},
    {"floor", kF, Fn::kFloor, kI, 1, false, {kI}},
    {"math.floor", kF, Fn::kFloor, kD, 1, false, {kD}},
    {"trunc", kF, Fn::kTrunc, kD, 1, false, {kD}},
    {"math.trunc", kF, Fn::kTrunc, kD, 1, false, {kD}},
    {"isNaN", kF, Fn::kIsNan, kB, 1, false, {kD}},
    {"math.isNaN", kF, Fn::kIsNan, kB, 1, false, {kD}},
    {"isInf", kF, Fn::kIsInf, kB, 1, false, {kD}},
    {"math.isInf", kF, Fn::kIsInf, kB, 1, false, {kD}},
    {"isFinite", kF, Fn::kIsFinite, kB, 1, false, {kD}},
    {"math.isFinite", kF, Fn::kIsFinite, kB, 1, false, {kD}},
    {"math.bitAnd", kF, Fn::kBitAnd, kI, 2, false, {kI, kI}},
    {"math.bitOr", kF, Fn::kBitOr, kI, 2, false, {kI, kI}},
    {"math.bitXor", kF, Fn::kBitXor, kI, 2, false, {kI, kI}},
    {"math.bitNot", kF, Fn::kBitNot, kI, 1, false, {kI}},
    {"math.bitShiftLeft", kF, Fn::kShiftLeft, kI, 2, false, {kI, kI}},
    {"math.bitShiftRight", kF, Fn::kShiftRight, kI, 2, false, {kI, kI}},

    {"getFullYear", kM, Fn::kFullYear, kI, 1, false, {kT}},
    {"getFullYear", kM, Fn::kFullYear, kI, 2, false, {kT, kS}},
    {"getMonth", kM, Fn::kMonth, kI, 1, false, {kT}},
    {"getMonth", kM, Fn::kMonth, kI, 2, false, {kT, kS}},
    {"getDate", kM, Fn::kDate, kI, 1, false, {kT}},
    {"getDate", kM, Fn::kDate, kI, 2, false, {kT, kS}},
    {"getDayOfMonth", kM, Fn::kDayOfMonth, kI, 1, false, {kT}},
    {"getDayOfMonth", kM, Fn::kDayOfMonth, kI, 2, false, {kT, kS}},
    {"getDayOfWeek", kM, Fn::kDayOfWeek, kI, 1, false, {kT}},
    {"getDayOfWeek", kM, Fn::kDayOfWeek, kI, 2, false, {kT, kS}},
    {"getDayOfYear", kM, Fn::kDayOfYear, kI, 1, false, {kT}},
    {"getDayOfYear", kM, Fn::kDayOfYear, kI, 2, false, {kT, kS}},
    {"getHours", kM, Fn::kHours, kI, 1, false, {kT}},
    {"getHours", kM, Fn::kHours, kI, 1, false, {kU}},
    {"getHours", kM, Fn::kHours, kI, 2, false, {kT, kS}},
    {"getMinutes", kM, Fn::kMinutes, kI, 1, false, {kT}},
    {"getMinutes", kM, Fn::kMinutes, kI, 1, false, {kU}},
    {"getMinutes", kM, Fn::kMinutes, kI, 2, false, {kT, kS}},
    {"getSeconds", kM, Fn::kSeconds, kI, 1, false, {kT}},
    {"getSeconds", kM, Fn::kSeconds, kI, 1, false, {kU}},
    {"getSeconds", kM, Fn::kSeconds, kI, 2, false, {kT, kS}},
    {"getMilliseconds", kM, Fn::kMilliseconds, kI, 1, false, {kT}},
    {"getMilliseconds", kM, Fn::kMilliseconds, kI, 1, false, {kU}},
    {"getMilliseconds", kM, Fn::kMilliseconds, kI, 2, false, {kT, kS}},

    {"int", kF, Fn::kToInt, kI, 1, false, {kI}},
    {"int", kF, Fn::kToInt, kI, 1, false, {kD}},
    {"int", kF, Fn::kToInt, kI, 1, false, {kS}},
    {"int", kF, Fn::kToInt, kI, 1, false, {kT}},
    {"double", kF, Fn::kToDouble, kD, 1, false, {kD}},
    {"double", kF, Fn::kToDouble, kD, 1, false, {kI}},
    {"double", kF, Fn::kToDouble, kD, 1, false, {kS}},
    {"string", kF, Fn::kToString, kS, 1, false, {kS}},
    {"string", kF, Fn::kToString, kS, 1, false, {kI}},
    {"string", kF, Fn::kToString, kS, 1, false, {kD}},
    {"string", kF, Fn::kToString, kS, 1, false, {kB}},
    {"string", kF, Fn::kToString, kS, 1, false, {kT}},
    {"string", kF, Fn::kToString, kS, 1, false, {kU}},
    {"bool", kF, Fn::kToBool, kB, 1, false, {kB}},
    {"bool", kF, Fn::kToBool, kB, 1, false, {kS}},
    {"timestamp", kF, Fn::kToTimestamp, kT, 1, false, {kT}},
    {"timestamp", kF, Fn::kToTimestamp, kT, 1, false, {kS}},
    {"timestamp", kF, Fn::kToTimestamp, kT, 1, false, {kI}},
    {"duration", kF, Fn::kToDuration, kU, 1, false, {kU}},
    {"duration", kF, Fn::kToDuration, kU, 1, false, {kS}},
    {"type", kF, Fn::kTypeOf, Type::kType, 1, false, {kAny}},
    {"dyn", kF, Fn::kDyn, kAny, 1, false, {kAny}},
};

}  // namespace

std::span<const Signature> signatures() {
  return kSignatures;
}

std::size_t find_signature(std::string_view name) {
  std::size_t index = 0;
  while (index < std::size(kSignatures) && kSignatures[index].name != name) {
    ++index;
  }
  return index;
}

std::span<const Signature> overloads(std::size_t first) {
  std::size_t end = first;
  while (end < std::size(kSignatures) && kSignatures[end].name == kSignatures[first].name) {
    ++end;
  }
  return std::span(kSignatures).subspan(first, end - first);
}

}  // namespace headwater::expr
