// headwater store ls|cat|export|verify|repair DIR, and store batch FILE
#include <CLI/CLI.hpp>
#include <cstdio>

#include "cli/command.h"
#include "cli/store_view.h"

namespace headwater {
namespace {

void add_row_flags(CLI::App* command, StoreFlags& flags) {
  command->add_option("--lane", flags.lane, "alerts, readings, samples, dead_letter or debug")
      ->capture_default_str();
  command->add_option("--device", flags.device, "Only rows of this device");
  command->add_option("--from", flags.from, "Only rows of this event time or later (RFC 3339)");
  command->add_option("--to", flags.to, "Only rows before this event time (RFC 3339)");
  command->add_option("--sequence", flags.sequence, "Begin at this sequence");
  command->add_option("--limit", flags.limit, "Stop after so many rows; 0 is no limit");
}

CLI::App* add_one(CLI::App* parent, Action& action, const char* name, const char* text,
                  const std::shared_ptr<StoreFlags>& flags, int (*run)(const StoreFlags&)) {
  CLI::App* command = parent->add_subcommand(name, text);
  command->add_option("DIR", flags->dir, "The data_dir of an edge, or its spool folder")
      ->required()
      ->check(CLI::ExistingDirectory);
  command->add_flag("--json", flags->json, "JSON for scripts");
  command->callback([flags, run, &action] { action = [flags, run] { return run(*flags); }; });
  return command;
}

}  // namespace

void add_store(CLI::App& app, Action& action) {
  CLI::App* store = app.add_subcommand("store", "Look at what is on disk, and repair it");
  store->require_subcommand(1);
  store->footer(
      "Works on the spool of a running edge too, without changing it; only repair writes, and it "
      "wants\nthe edge stopped.\n"
      "\nExamples:\n"
      "  headwater store ls ./data\n"
      "  headwater store cat ./data --lane alerts --limit 10\n"
      "  headwater store export ./data --out readings.jsonl\n"
      "  headwater store verify ./data          reads every byte; exit 74 if something is wrong\n"
      "  headwater store repair ./data          puts on record what damage took\n"
      "  headwater store batch outbox/x.jsonl.zst --rows");

  auto ls = std::make_shared<StoreFlags>();
  add_one(store, action, "ls", "Lanes, segments and consumers", ls, store_ls);

  auto cat = std::make_shared<StoreFlags>();
  CLI::App* cat_command = add_one(store, action, "cat", "Print rows", cat, store_cat);
  add_row_flags(cat_command, *cat);
  cat_command->footer(
      "Without --json: the original messages, one per line (tabs and what follows name "
      "the row).\nWith --from, --to or --device only the files that may hold such rows are read.");

  auto out = std::make_shared<StoreFlags>();
  CLI::App* export_command =
      add_one(store, action, "export", "Write rows to a file as JSON lines", out, store_export);
  add_row_flags(export_command, *out);
  export_command->add_option("--out", out->out, "The file; - is standard output")->required();
  export_command->add_flag("--raw", out->raw, "The original messages instead of records");

  auto verify = std::make_shared<StoreFlags>();
  add_one(store, action, "verify", "Check every frame, sequence and gap", verify, store_verify);

  auto batch = std::make_shared<BatchFlags>();
  CLI::App* batch_command =
      store->add_subcommand("batch", "Check an upload batch, print its header or rows");
  batch_command->add_option("FILE", batch->file, "A .jsonl.zst file that the uplink wrote")
      ->required()
      ->check(CLI::ExistingFile);
  batch_command->add_flag("--rows", batch->rows, "The lines instead of the header");
  batch_command->add_flag("--json", batch->json, "JSON for scripts");
  batch_command->callback([batch, &action] { action = [batch] { return store_batch(*batch); }; });
  auto repair = std::make_shared<StoreFlags>();
  CLI::App* repair_command = add_one(
      store, action, "repair", "Put on record what damage took, so that the spool is sound again",
      repair, store_repair);
  repair_command->add_flag("--force", repair->force,
                           "Of a spool of which nothing reads: set the folder aside");
  repair_command->footer(
      "Stop the edge first. Every range of rows that does not read becomes a gap record, which "
      "goes\n"
      "to the receivers like any other; all other rows, their sequences and the files stay as "
      "they\n"
      "are. A copy of the folder before is never wrong.");
}

}  // namespace headwater
