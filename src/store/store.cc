#include "store/store.h"

namespace turnout {

std::string_view name_of(Table table) {
    switch (table) {
        case Table::Meta: return "meta";
        case Table::Workspace: return "workspace";
        case Table::Datastore: return "datastore";
        case Table::AssetContainer: return "asset_container";
        case Table::AssetVersion: return "asset_version";
        case Table::CodeHash: return "code_hash";
        case Table::Compute: return "compute";
        case Table::Node: return "node";
        case Table::Job: return "job";
        case Table::JobState: return "job_state";
        case Table::TaskBase: return "task_base";
        case Table::JobCreated: return "job_created";
        case Table::JobLive: return "job_live";
        case Table::Ledger: return "ledger";
        case Table::Event: return "event";
        case Table::Experiment: return "experiment";
        case Table::ExperimentById: return "experiment_by_id";
        case Table::Run: return "run";
        case Table::RunCreated: return "run_created";
        case Table::Metric: return "metric";
        case Table::Log: return "log";
        case Table::Blob: return "blob";
        case Table::BlobBlock: return "blob_block";
        case Table::BlobData: return "blob_data";
        case Table::BlobUse: return "blob_use";
        case Table::Token: return "token";
        case Table::People: return "people";
        case Table::Removal: return "removal";
        case Table::Service: return "service";
        case Table::MachineSecret: return "machine_secret";
        case Table::Audit: return "audit";
        case Table::Secret: return "secret";
        case Table::OnlineEndpoint: return "online_endpoint";
        case Table::OnlineDeployment: return "online_deployment";
        case Table::StepRun: return "step_run";
        case Table::Registration: return "registration";
    }
    return "";
}

Range with_prefix(std::string_view prefix, std::size_t limit) {
    Range range;
    range.from = prefix;
    range.to = prefix;
    while (!range.to.empty() && static_cast<unsigned char>(range.to.back()) == 0xff)
        range.to.pop_back();
    if (!range.to.empty()) range.to.back() = static_cast<char>(range.to.back() + 1);
    range.limit = limit;
    return range;
}

Failure conflict_at(Table table, std::string_view key) {
    std::string subject = std::string(name_of(table)) + "/" + std::string(key);
    std::string message =
        "'" + subject + "' was changed by somebody else meanwhile; read it again and repeat";
    return fail(Code::Conflict, "Conflict", std::move(message), std::move(subject));
}

void refuse(Batch batch, CommitDone done) {
    if (const auto give_back = batch.give_back) return give_back(std::move(batch), std::move(done));
    done(fail(Code::Unavailable, "TooManyWrites",
              "too many writes are waiting for the disk: try again"));
}

std::string hex16(std::uint64_t number) {
    std::string text(16, '0');
    for (std::size_t i = 16; i-- > 0; number >>= 4) text[i] = "0123456789abcdef"[number & 15];
    return text;
}

std::string hex16_descending(std::uint64_t number) {
    return hex16(~number);
}

Result<void> each_row(Store& store, Table table, Range range,
                      const std::function<Result<void>(const Record&)>& use) {
    for (;;) {
        const std::vector<Record> page = TURNOUT_TRY(store.scan(table, range));
        for (const Record& record : page) TURNOUT_TRY(use(record));
        if (page.size() < range.limit) return {};
        if (range.reverse)
            range.to = page.back().key;
        else
            range.from = page.back().key + '\0';
    }
}

Task<Result<std::uint64_t>> Store::commit(Batch batch) {
    Later<Result<std::uint64_t>> later;
    commit(std::move(batch),
           [settle = later.settle()](Result<std::uint64_t> result) { settle(std::move(result)); });
    co_return co_await later;
}

}  // namespace turnout
