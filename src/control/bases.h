// Tasks that jobs share: once in the store and once to each node, however many jobs there are.
#pragma once

#include <cstdint>
#include <list>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "control/owner.h"

namespace turnout::control {

struct TaskBase {
    std::string hash;
    std::string workspace;
    bool stored = false;       // or in a turn that is on its way
    std::uint64_t number = 0;  // never given to another one
    // That its task names; known since its row was read for the first node that it went to.
    std::vector<std::string> secrets;
    // Of its environment. Known from the submission; after a restart, and of tasks that did not
    // come with one, since the row was read for a node that has an image.
    std::optional<std::string> image;
    std::size_t live_jobs = 0;
    std::uint64_t survey = 0;  // in which a job referred to it last
    std::optional<std::list<std::string>::iterator>
        idle;  // its place among those without a live job
};

class Bases : Owner {
public:
    explicit Bases(Owners& all) : Owner(all) {}

    // One more live job has it, one less.
    TaskBase& take(const std::string& workspace, std::string hash);
    void give_back(TaskBase& base);
    void store_once(TaskBase& base, std::string text);  // its row, if the store has none

    std::uint64_t begin_survey();
    void erase(std::uint64_t survey, std::vector<std::string> keys,
               Control::Reply<std::size_t> reply);

    void forget();
    void write_rows(Turn& turn, Batch& batch) const;

private:
    std::unordered_map<std::string, TaskBase>
        by_key_;                   // "{wsid}/{hash}": of live jobs, and some more
    std::list<std::string> idle_;  // their keys, the longest idle first
    std::uint64_t last_ = 0;
    std::uint64_t survey_ = 0;                        // the newest: see Control::survey_bases
    std::unordered_set<std::string> used_in_survey_;  // and no longer in `by_key_`
};

}  // namespace turnout::control
