// Runs a fuzz target without libFuzzer: over every file of its corpus folder, then over seeded
// mutations of them. A build with -DHW_FUZZERS=ON explores with coverage feedback instead.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size);

namespace {

constexpr int kMutationsPerFile = 200;
constexpr unsigned kSeed = 20240501;

void run(const std::string& input) {
  LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(input.data()), input.size());
}

std::string mutate(std::string input, std::mt19937& random) {
  const auto below = [&](std::size_t bound) { return bound == 0 ? 0 : random() % bound; };
  for (std::size_t edits = 1 + below(4); edits > 0; --edits) {
    switch (below(4)) {
      case 0:
        if (!input.empty()) {
          input[below(input.size())] = static_cast<char>(random());
        }
        break;
      case 1:
        input.resize(below(input.size() + 1));
        break;
      case 2:
        input.insert(input.begin() + static_cast<std::ptrdiff_t>(below(input.size() + 1)),
                     static_cast<char>(random()));
        break;
      default:
        if (!input.empty()) {
          input[below(input.size())] ^= static_cast<char>(1 << below(8));
        }
    }
  }
  return input;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s CORPUS_DIR\n", argv[0]);
    return 2;
  }
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(argv[1])) {
    if (entry.is_regular_file()) {
      files.push_back(entry.path());
    }
  }
  if (files.empty()) {
    std::fprintf(stderr, "no corpus file in %s\n", argv[1]);
    return 1;
  }
  std::mt19937 random(kSeed);
  run("");
  for (const auto& path : files) {
    std::ifstream in(path, std::ios::binary);
    const std::string input{std::istreambuf_iterator<char>(in), {}};
    run(input);
    for (int i = 0; i < kMutationsPerFile; ++i) {
      run(mutate(input, random));
    }
  }
  std::printf("%zu corpus files, %zu inputs\n", files.size(),
              files.size() * (1 + kMutationsPerFile) + 1);
  return 0;
}
