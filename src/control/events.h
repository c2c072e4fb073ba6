// What happened, for people who follow: rows of Table::Event. Nothing is decided by them.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "control/owner.h"
#include "model/compute.h"

namespace turnout::control {

struct JobEntry;

class Events : Owner {
public:
    explicit Events(Owners& all) : Owner(all) {}

    // As long as what it returns lives, what happens is told as this user's doing ("": nobody's).
    class Cause {
    public:
        Cause(Events& events, std::string_view by) : events_(events) { events_.by_ = by; }
        ~Cause() { events_.by_ = {}; }
        Cause(const Cause&) = delete;
        Cause& operator=(const Cause&) = delete;

    private:
        Events& events_;
    };
    [[nodiscard]] Cause caused_by(std::string_view by) { return {*this, by}; }

    void of_job(const JobEntry& job, std::string_view what, std::string_view message = {});
    void of_node(const Node& node, std::string_view what, std::string_view message = {});
    void of_compute(const Compute& compute, std::string_view what, std::string_view message = "");
    void of_space(std::string_view workspace, std::string_view kind, std::string_view message);

    Result<void> recover();
    void write_rows(Turn& turn, Batch& batch);
    void turn_is_released(const Turn& turn);
    std::function<void(std::uint64_t)> listener;

private:
    std::string& text();  // where the next one is put

    std::uint64_t last_ = 0;  // key of the last row
    std::string_view by_;     // whose doing it is
};

}  // namespace turnout::control
