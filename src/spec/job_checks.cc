// What of a job's keys no type says: names, sizes, and keys that depend on each other.
#include <algorithm>

#include "base/text.h"
#include "spec/shapes.h"

namespace turnout::spec {

void check_job_name(Reading& reading, const std::string& pointer, const Json& value) {
    if (value.is_null()) return;
    const std::string name = reading.text(pointer);
    const std::string_view letters =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.";
    if (name.empty() || name.size() > 255 || name[0] == '-' || name[0] == '.' ||
        name.find_first_not_of(letters) != std::string::npos)
        reading.refuse(pointer,
                       "expected 1 to 255 letters, digits, '.', '_' and '-', beginning with a "
                       "letter, a digit or '_', found '" +
                           name + "'");
}

void check_job_resources(Reading& reading, const std::string& pointer, const Json& value) {
    const std::string here = pointer_to(pointer, "shm_size");
    const std::string size = reading.text(here);
    if (size.empty()) return;
    const std::size_t digits = std::min(size.find_first_not_of("0123456789"), size.size());
    const std::string unit = to_lower(std::string_view(size).substr(digits));
    const bool known = unit.empty() || (unit.size() == 1 && std::string_view("bkmg").find(unit) !=
                                                                std::string_view::npos);
    if (!known || size.find_first_not_of('0') >= digits)
        reading.refuse(here, expected("a number above 0 and one of b, k, m, g, such as 2g",
                                      value.at("shm_size")));
}

void check_distribution(Reading& reading, const std::string& pointer, const Json& value) {
    const bool tensorflow = equal_ignoring_case(value.at("type").as_view(), "tensorflow");
    for (const char* key :
         {"process_count_per_instance", "worker_count", "parameter_server_count"}) {
        const Json& count = value.at(key);
        if (count.is_null()) continue;
        const bool of_tensorflow = std::string_view(key) != "process_count_per_instance";
        const int least = std::string_view(key) == "parameter_server_count" ? 0 : 1;
        if (of_tensorflow != tensorflow)
            reading.refuse(
                pointer_to(pointer, key),
                tensorflow ? "is for pytorch and mpi: tensorflow takes worker_count and "
                             "parameter_server_count"
                           : "is for tensorflow: pytorch and mpi take process_count_per_instance");
        else if (count.is_int() && count.as_int() < least)
            reading.refuse(pointer_to(pointer, key), "expected at least " + std::to_string(least) +
                                                         ", found " + count.dump());
    }
}

}  // namespace turnout::spec
