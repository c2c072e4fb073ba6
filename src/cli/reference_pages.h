// Pages of the reference that are no table of options.
#pragma once

namespace turnout::cli {

inline constexpr const char* kCauses = R"(# Why a job ended

A job that did not go well has exactly one of these causes: `turnout job show` and `job list` show it, the
API has it as the property `turnout.cause`, and `turnout job explain` tells it of every attempt.

| cause | meaning | tried again by itself |
|---|---|---|
| `user_code` | The command ended with an exit code other than 0, or by a signal; or what it left as outputs cannot be stored. | no |
| `out_of_memory` | It needed more memory than its node has for it; the peak is told. | no |
| `timeout` | It ran longer than its `limits.timeout`. | no |
| `canceled` | Somebody canceled it, or its compute was deleted. | no |
| `preempted` | Its low-priority node had to give way to a dedicated cluster. | yes, without limit |
| `node_lost` | Its node ended, its processes were killed, or it could not be reached for hours. | yes, 3 attempts in all |
| `environment` | Its environment could not be prepared; the build log says why. | no |
| `input` | An input or its code could not be fetched. | no |
| `internal` | Turnout itself failed. | yes, 3 attempts in all |

# Where the time of a job goes

`turnout job ledger JOB` books every microsecond from submission to end to one of these; they add up exactly.

| entry | meaning |
|---|---|
| `queue` | It waited for its turn. |
| `quota` | It waited because the pool had no free slot. |
| `node_start` | A node was starting. |
| `snapshot`, `environment`, `inputs` | The node fetched its code, prepared its environment, fetched its inputs. |
| `user_code` | Its command ran. |
| `outputs` | Outputs and logs were stored. |
| `retry`, `preempted` | All of the attempts that did not count, and the wait for the next one. |

`turnout compute ledger NAME` and `turnout job ledger --experiment NAME` are sums over jobs that have ended. A
compute costs what its nodes live, times the tag `turnout.price_per_hour`; an experiment costs what its jobs
use of them.

# Routes that Azure does not have

Beneath the path of the workspace, with a user's token:

| route | gives |
|---|---|
| `GET /jobs/{name}/explain` | Why it waits, node by node, and what would start it now; its attempts. |
| `GET /jobs/{name}/ledger` | Its time in exact microseconds. |
| `GET /computes/{name}/ledger`, `GET /experiments/{name}/ledger` | Sums, node time by tier, idle time, cost. |
| `GET /events` | What happened: `after` (id of an event), `limit`, `wait` (seconds), `job`, `compute`, `kind`. |
| `POST /jobs/{name}/drill` | `{"kind": "preempt", "kill-node", "partition" or "fill-disk", "seconds": N}`: harm on purpose. |

Properties of a job besides `turnout.ledger.*`: `turnout.waiting_for`, `turnout.place_in_queue`,
`turnout.expected_start`, `turnout.attempts`, `turnout.preemptions`, `turnout.node`, `turnout.cause`,
`turnout.exit_code`, `turnout.peak_memory_bytes`.

)";

}  // namespace turnout::cli
