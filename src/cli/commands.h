// The functions behind the rows of the table in commands.cc.
#pragma once

#include <functional>

#include "cli/context.h"

namespace turnout::cli {

// ---- the table (commands.cc, examples.cc) ----
const std::vector<Command>& command_table();
const std::vector<Group>& command_groups();
std::vector<std::string> examples_of(const std::vector<std::string>& words);

// The statuses of jobs that have not ended, and of those that have, as a listing takes them.
inline constexpr const char* kLiveStatuses =
    "NotStarted,Queued,Preparing,Provisioning,Starting,Running,Finalizing,CancelRequested,"
    "NotResponding,Paused";
inline constexpr const char* kEndedStatuses = "Completed,Failed,Canceled";

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
// "azureml://…/datastores/D/paths/P" split into D and P.
Result<std::pair<std::string, std::string>> datastore_path(const std::string& uri);
// What is at that path of a datastore, a blob or all beneath it, into `folder`; how many files.
Result<std::size_t> fetch_folder(Context& context, client::Api& api, const std::string& store,
                                 std::string prefix, const std::string& folder,
                                 const std::string& what);
// What az shows, and what a table needs besides: when, and why it waits.
Json job_entity(const Json& rest);
// For a job without one: "brave_bridge_02dd1113f6".
std::string made_up_name(client::Api& api);
// What a person wants to know of a new job, in four lines.
void tell_submitted(Context& context, const Json& job);
// Follows the job to its end and gives its exit code.
int follow_job(Context& context, client::Api& api, const std::string& name);

// Keeps steps that are written in place as components, which then have ids.
void keep_components(client::Api& api, Json& steps);
// What the server would refuse of a loaded document, as far as that can be known here.
Result<void> check_as_server_does(const Context& context, Loaded& loaded);

// ---- schedules of jobs (schedule_commands.cc) ----
int schedule_create(Context& context);
int schedule_validate(Context& context);
int schedule_list(Context& context);
int schedule_show(Context& context);
int schedule_update(Context& context);
int schedule_enable(Context& context);
int schedule_disable(Context& context);
int schedule_trigger(Context& context);
int schedule_delete(Context& context);

// ---- pipelines (pipeline_commands.cc) ----
int job_explain_reuse(Context& context);
int job_resume(Context& context);

// ---- AutoML (automl_commands.cc) ----
int job_leaderboard(Context& context);

// ---- why, and where the time went (explain_commands.cc) ----
// As a picture on a terminal, else as the other formats have it.
int show_either(Context& context, const Json& json,
                const std::function<std::string(const Json&)>& picture);
int job_explain(Context& context);
int job_ledger(Context& context);
int compute_ledger(Context& context);

// ---- tokens (token_commands.cc) ----
int token_list(Context& context);
int token_create(Context& context);
int token_rotate(Context& context);
int token_revoke(Context& context);

// ---- browsers and the identity provider (session_commands.cc) ----
int session_list(Context& context);
int session_remove(Context& context);
int oidc_check(Context& context);
int user_link(Context& context);

// ---- secrets of a workspace (secret_commands.cc) ----
int secret_set(Context& context);
int secret_list(Context& context);
int secret_show(Context& context);
int secret_remove(Context& context);
int secret_rotate_key(Context& context);
// A line from the terminal without showing it, or from a pipe (server_commands.cc).
std::string read_hidden_line(Context& context, const std::string& prompt);

// ---- people and roles (people_commands.cc) ----
// The last names of a scope's path, as rows show it.
std::string words_of_scope(const std::string& scope);
// "user" and "roles" of whom the commands act for; nothing of a server that does not say.
void tell_who(client::Api& api, Json& out);
int user_add(Context& context);
int user_list(Context& context);
int user_show(Context& context);
int user_disable(Context& context);
int user_enable(Context& context);
int user_token(Context& context);
int user_role(Context& context);
int role_assign(Context& context);
int role_list(Context& context);
int role_remove(Context& context);
int role_definitions(Context& context);
int role_actions(Context& context);
int role_create(Context& context);
int role_delete(Context& context);

// ---- what was tracked (run_commands.cc) ----
int run_list(Context& context);
int run_show(Context& context);
int run_compare(Context& context);
int run_best(Context& context);
int run_plot(Context& context);
int run_diff(Context& context);

// ---- what users and workspaces may have (quota_commands.cc) ----
int quota_set(Context& context);
int quota_list(Context& context);
int quota_show(Context& context);
int quota_remove(Context& context);

// ---- harm on purpose (drill_commands.cc) ----
int drill_list(Context& context);
int drill_preempt(Context& context);
int drill_kill_node(Context& context);
int drill_partition(Context& context);
int drill_fill_disk(Context& context);

// ---- who did what (audit_commands.cc) ----
int show_audit(Context& context);
int check_audit(Context& context);

// ---- what happens (event_commands.cc) ----
int show_events(Context& context);

// ---- compute (compute_commands.cc) ----
int compute_create(Context& context);
int compute_list(Context& context);
int compute_show(Context& context);
int compute_update(Context& context);
int compute_start(Context& context);
int compute_stop(Context& context);
int compute_restart(Context& context);
int compute_delete(Context& context);
int compute_detach(Context& context);
int compute_list_nodes(Context& context);
int compute_list_sizes(Context& context);
int compute_list_usage(Context& context);
int compute_capabilities(Context& context);

// ---- clusters as 2018 showed them (batchai_commands.cc) ----
int batchai_cluster_list(Context& context);
int batchai_job_list(Context& context);

// ---- every kind of document: environment, data, datastore … (asset_commands.cc) ----
int asset_create(Context& context);
int asset_list(Context& context);
int asset_show(Context& context);
int asset_update(Context& context);
int asset_archive(Context& context);
int asset_restore(Context& context);
int asset_delete(Context& context);
int asset_download(Context& context);

// ---- batch endpoints and their deployments (batch_commands.cc) ----
int batch_endpoint_create(Context& context);
int batch_endpoint_update(Context& context);
int batch_endpoint_list(Context& context);
int batch_endpoint_show(Context& context);
int batch_endpoint_delete(Context& context);
int batch_endpoint_invoke(Context& context);
int batch_endpoint_jobs(Context& context);
int batch_deployment_create(Context& context);
int batch_deployment_update(Context& context);
int batch_deployment_list(Context& context);
int batch_deployment_show(Context& context);
int batch_deployment_delete(Context& context);
int batch_deployment_jobs(Context& context);

// ---- online endpoints and their deployments (endpoint_commands.cc) ----
int online_endpoint_create(Context& context);
int online_endpoint_update(Context& context);
int online_endpoint_list(Context& context);
int online_endpoint_show(Context& context);
int online_endpoint_delete(Context& context);
int online_endpoint_invoke(Context& context);
int online_endpoint_credentials(Context& context);
int online_endpoint_regenerate(Context& context);
int online_deployment_create(Context& context);
int online_deployment_update(Context& context);
int online_deployment_list(Context& context);
int online_deployment_show(Context& context);
int online_deployment_delete(Context& context);
int online_deployment_logs(Context& context);

// ---- workspace (workspace_commands.cc) ----
int workspace_create(Context& context);
int workspace_list(Context& context);
int workspace_show(Context& context);
int workspace_delete(Context& context);

// ---- where nodes come from (pool_commands.cc) ----
int pool_list(Context& context);
int pool_show(Context& context);
int pool_check(Context& context);
int pool_update(Context& context);
int pool_add(Context& context);
int pool_remove(Context& context);
int pool_reload(Context& context);

// ---- what takes space, and how it goes (space_commands.cc) ----
int show_space(Context& context);
int prune(Context& context);

// ---- whether computes do what they claim (verify_command.cc) ----
int verify(Context& context);

// ---- every kind (validate_command.cc) ----
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
int print_reference(Context& context);   // documents.cc
int print_completion(Context& context);  // completion.cc
int complete_words(Context& context);
int print_version(Context& context);

// Of a job's "properties": its work is done by jobs of its own, such as a sweep's trials.
bool is_group(const Json& properties);

// `export NAME='value'` lines, in order; values are safe for POSIX shells.
std::vector<std::pair<std::string, std::string>> environment_of(const client::Settings& settings);

}  // namespace turnout::cli
