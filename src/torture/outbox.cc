#include "torture/outbox.h"

#include <algorithm>
#include <filesystem>
#include <vector>

#include "columnar/batch_reader.h"
#include "io/files.h"

namespace headwater::torture {

Status read_outbox(const std::string& dir, std::string_view lane,
                   const std::function<void(const BatchRow&)>& use) {
  std::vector<std::string> paths;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(dir, error)) {
    const std::string name = entry.path().filename().string();
    if (name.ends_with(".jsonl.zst") && name.find(fmt::format("_{}_", lane)) != std::string::npos) {
      paths.push_back(entry.path().string());
    }
  }
  std::sort(paths.begin(), paths.end());
  for (const std::string& path : paths) {
    const std::string bytes = HW_TRY(io::real_files().read_all(path));
    BatchReader reader;
    HW_TRY(reader.open(bytes).with("batch '{}'", path));
    for (BatchItem item = HW_TRY(reader.next()); item != BatchItem::kEnd;
         item = HW_TRY(reader.next())) {
      if (item == BatchItem::kRow) {
        use(reader.row());
      }
    }
  }
  return {};
}

}  // namespace headwater::torture
