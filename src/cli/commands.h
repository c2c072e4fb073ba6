// The functions behind the rows of the table in commands.cc.
#pragma once

#include "cli/context.h"

namespace turnout::cli {

// ---- job (job_commands.cc, job_stream.cc) ----
int job_create(Context& context);
int job_list(Context& context);
int job_show(Context& context);
int job_stream(Context& context);
int job_cancel(Context& context);
int job_download(Context& context);
int job_archive(Context& context);
int job_restore(Context& context);
int job_update(Context& context);
int job_delete(Context& context);
// Follows the job to its end and gives its exit code.
int follow_job(Context& context, client::Api& api, const std::string& name);

// ---- why, and where the time went (explain_commands.cc) ----
int job_explain(Context& context);
int job_ledger(Context& context);
int compute_ledger(Context& context);

// ---- harm on purpose (drill_commands.cc) ----
int drill_preempt(Context& context);
int drill_kill_node(Context& context);
int drill_partition(Context& context);
int drill_fill_disk(Context& context);

// ---- what happens (event_commands.cc) ----
int show_events(Context& context);

// ---- compute (compute_commands.cc) ----
int compute_create(Context& context);
int compute_list(Context& context);
int compute_show(Context& context);
int compute_update(Context& context);
int compute_delete(Context& context);
int compute_list_nodes(Context& context);
int compute_list_sizes(Context& context);
int compute_list_usage(Context& context);

// ---- environment, data, model, datastore, workspace (asset_commands.cc) ----
int asset_create(Context& context);
int asset_list(Context& context);
int asset_show(Context& context);
int asset_archive(Context& context);
int asset_restore(Context& context);
int datastore_create(Context& context);
int datastore_list(Context& context);
int datastore_show(Context& context);
int datastore_delete(Context& context);
int workspace_create(Context& context);
int workspace_list(Context& context);
int workspace_show(Context& context);
int workspace_delete(Context& context);

// ---- every kind ----
int validate(Context& context);

// ---- the server and this machine (server_commands.cc) ----
int server_up(Context& context);
int server_backup(Context& context);
int server_restore(Context& context);
int server_down(Context& context);
int server_status(Context& context);
int print_environment(Context& context);
int exec_in_environment(Context& context);
int print_config(Context& context);
int login(Context& context);
int print_reference(Context& context);
int print_version(Context& context);

// `export NAME='value'` lines, in order; values are safe for POSIX shells.
std::vector<std::pair<std::string, std::string>> environment_of(const client::Settings& settings);

}  // namespace turnout::cli
