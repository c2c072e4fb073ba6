// The agent's MLflow listener on the loopback interface. Appends to the attempt's own run are
// accepted here: durable in the attempt's journal, answered, then shipped to the server in order
// and exactly once (the server drops repeated numbers). Everything else is passed on.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/journal.h"
#include "agent/node_core.h"
#include "agent/server.h"
#include "base/task.h"
#include "io/http.h"

namespace turnout::agent {

class MlflowGate {
public:
    // `complain` puts a line into the job's log.
    MlflowGate(Server& server, std::function<void(const AttemptId&, std::string)> complain);
    ~MlflowGate();

    // An attempt that may log, with its folder (metrics.journal, metrics.shipped) and its token.
    // What an earlier life left unshipped is shipped.
    void open(const AttemptId& id, const TaskSpec& task, std::string folder);
    void close(const AttemptId& id);
    // Returns when everything that was accepted is at the server; false if the attempt was closed.
    Task<bool> drained(AttemptId id);

    // For http::Handler.
    Task<http::Response> handle(const http::Request& request, http::BodyReader& body);

private:
    struct Run;
    std::shared_ptr<Run> find(std::string_view authorization) const;
    Task<http::Response> give_token(const http::Request& request);
    Task<http::Response> accept(std::shared_ptr<Run> run, std::string path, Json body,
                                std::string text);
    Task<http::Response> pass_on(std::shared_ptr<Run> run, const http::Request& request,
                                 std::optional<std::string> body, http::BodyReader& rest);
    static Task<void> store(std::shared_ptr<Run> run, Server& server);
    Task<void> ship(std::shared_ptr<Run> run);

    Server& server_;
    std::function<void(const AttemptId&, std::string)> complain_;
    std::map<AttemptId, std::shared_ptr<Run>> runs_;  // shared with the coroutines that serve them
};

// Whether the server would surely accept this append (MLflow's limits and types), so that it may be
// answered here. `path` is the part behind "/api/2.0/mlflow/".
bool can_accept(std::string_view path, const Json& body, std::string_view run_id);

}  // namespace turnout::agent
