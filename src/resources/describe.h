// Resources described once. A `Description` lists the fields of a resource: the name in YAML and in
// the CLI's output (snake_case), the place in the REST document (camelCase), type, need, spelling
// of choices in both, the flag, and a sentence of help. Everything else follows from it: validation
// with places, YAML to REST, REST to YAML, command-line flags and the reference page. Where Azure's
// YAML and REST differ in shape, a `Special` gives a pure two-way function.
//
// The descriptions themselves are in resources.cc. Pure: the file system comes as an argument.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "resources/rules.h"
#include "yaml/yaml.h"

namespace turnout::resources {

// What YAML may name on this machine.
enum class PathKind { Absent, File, Folder, Other };
struct LocalFiles {
    std::string folder;  // absolute, of the YAML file: relative paths begin there
    std::function<PathKind(const std::string& path)> kind;
    std::function<Result<std::string>(const std::string& path)> read;

    std::string resolve(std::string_view path) const;  // absolute, "file:" and "./" removed
};

// A local file or folder to upload before the resource can be created; the part at `pointer` is
// then replaced by where it went.
struct LocalPath {
    enum class Role { Code, Input, Data, Model, BuildContext } role;
    std::string pointer;
    std::string path;  // absolute
};

// A versioned asset, compute or datastore that is named; labels ("name@latest") are resolved by the
// client, which replaces the part.
struct Reference {
    std::string kind;  // "environments" "data" "models" "computes"
    std::string pointer;
    std::string text;
};

struct Problem {
    std::string place;    // "job.yml:3:5"
    std::string key;      // "inputs.lr"
    std::string message;  // what was expected
};

// One pass over a document: collects what is wrong and what has to be uploaded.
class Reading {
public:
    Reading(YamlDocument& what, const LocalFiles& local_files)
        : document(what), files(local_files) {}

    void refuse(const std::string& pointer, std::string message);
    // Each reports a problem and gives false unless the part has that type.
    bool expect_text(const std::string& pointer, const Json& value);
    bool expect_whole(const std::string& pointer, const Json& value);
    bool expect_number(const std::string& pointer, const Json& value);
    bool expect_flag(const std::string& pointer, const Json& value);
    bool expect_mapping(const std::string& pointer, const Json& value);
    bool expect_list(const std::string& pointer, const Json& value);
    // The path exists and is of that kind; recorded for upload.
    void expect_path(const std::string& pointer, const std::string& path, LocalPath::Role role,
                     bool folder_allowed = true, bool file_allowed = true);
    std::string text(const std::string& pointer) const;

    YamlDocument& document;
    const LocalFiles& files;
    std::vector<Problem> problems;
    std::vector<LocalPath> local;
    std::vector<Reference> references;
    std::vector<std::string> inline_environments;  // pointers
    std::vector<std::string> inline_models;
};

// "job.yml:3:5: inputs.lr: expected …", the key once: an option of its name says it already.
std::string at_its_place(const std::string& place, const std::string& key,
                         const std::string& message);

// "expected a whole number, found the text 'two'".
std::string expected(std::string_view what, const Json& found);

// "expected the name of a compute: 2 to 32 letters …, found 'a b'".
std::string not_by(const TextRule& rule, std::string_view found, std::string_view what = "");

enum class Kind {
    Text,
    Whole,
    Number,
    Flag,
    Choice,
    Seconds,
    TextMap,
    AnyMap,
    TextList,
    Object,
    Special
};
enum class Need { Required, Optional, ReadOnly };

struct Choice {
    std::string yaml;
    std::string rest;
    std::string refused = "";  // why this choice is not accepted today
};

// What conversions know besides the document.
struct Scope {
    std::string workspace_path;  // "/subscriptions/…/workspaces/x"
};

// What is wrong with a REST document, with the places below its "properties".
class RestFindings {
public:
    explicit RestFindings(std::string under) : under_(std::move(under)) {}
    // `place` is below the part that is looked at: "scaleSettings.maxNodeCount".
    void refuse(std::string_view place, const std::string& message);
    void not_as_expected(std::string_view place, std::string_view what, const Json& found);
    RestFindings beneath(std::string_view place) const;
    std::string whole() const;  // the place of what no field says alone

    std::vector<Error> errors;

private:
    std::string at(std::string_view place) const;
    std::string under_;  // "properties.resources"; "" = the document itself
};

struct Special {
    std::string shape;  // for the reference page: "text or mapping"
    void (*check)(Reading& reading, const std::string& pointer, const Json& value);
    // Puts what it means into the REST document.
    void (*to_rest)(const YamlDocument& document, const std::string& pointer, const Json& value,
                    const Scope& scope, Json& rest);
    // Its value read from the REST document; null if there is none.
    Json (*from_rest)(const Json& rest);
    // What a REST document's own value of it must be (`check_rest`); none: it is looked at
    // elsewhere.
    void (*check_rest)(const Json& rest, RestFindings& findings) = nullptr;
};

struct Description;

struct Field {
    std::string yaml;
    std::string rest;  // dotted: "properties.scaleSettings.minNodeCount"; "" for a Special
    Kind kind = Kind::Text;
    Need need = Need::Optional;
    std::string help;
    std::string flag = {};     // "--min-instances"
    std::string refused = {};  // why a value is not accepted today
    std::vector<Choice> choices = {};
    const Description* object = nullptr;  // of an Object; of a Special, for the reference page
    Special special = {};
    std::int64_t least = INT64_MIN, most = INT64_MAX;  // of a Whole or Seconds
    const TextRule* rule = nullptr;                    // of a Text: what it must be
};

struct Description {
    std::string kind;         // "job", "compute": the command's word
    std::string type;         // "command", "amlcompute"; "" if the kind has one type only
    std::string schema = {};  // begins the file name of its `$schema`: "commandJob"
    std::string title;        // for the reference page
    std::string help;
    std::vector<Field> fields;
    std::vector<std::pair<std::string, Json>> constants = {};  // REST members that are always sent
    void (*check)(Reading& reading, const std::string& pointer, const Json& value) = nullptr;
    // Last touches between the fields: defaults that depend on each other.
    void (*finish_rest)(const Json& value, Json& rest) = nullptr;
    void (*finish_entity)(const Json& rest, Json& entity) = nullptr;

    const Field* find(std::string_view yaml) const;
};

// Of what came without a file beside it: there is none.
const LocalFiles& no_files();

// Reports problems of the part at `pointer`: unknown keys (with the nearest known one), missing
// keys, wrong types, refused values.
void check(const Description& description, Reading& reading, const std::string& pointer = "");
// All problems as one error: a line "place: key: message" each.
Result<void> result_of(const Reading& reading);

// The same of a REST document: what is there, by the same rules, in the words of REST. What the
// description does not know is left alone, for clients send more than they are asked for; so is
// what a server adds. The error names the place ("properties.resources.instanceCount"), what was
// expected and what was found. `under`: where the part lies if it is not all of the document;
// `reason`: the error's.
Result<void> check_rest(const Description& description, const Json& rest,
                        const std::string& under = "",
                        const std::string& reason = "InvalidArgument");

// What the server refuses names a part of the REST document; here at its place in what was written,
// and by the name that it has there. As it is if that part was not written.
Error in_words_of(const Description& description, const YamlDocument& document, Error error);

// The REST document of a checked part whose uploads and labels are resolved.
Json to_rest(const Description& description, const YamlDocument& document,
             const std::string& pointer, const Scope& scope);
// What `az ml … show` prints: snake_case; members that are absent or null are left out.
Json to_entity(const Description& description, const Json& rest);

// REST documents by dotted path.
const Json& at_path(const Json& document, std::string_view dotted_path);
void set_path(Json& document, std::string_view dotted_path, Json value);

// The choice that `text` means, without regard to case, '_' and '-'; null if none.
const Choice* find_choice(const std::vector<Choice>& choices, std::string_view text);
std::string camel_to_snake(std::string_view text);
// Of an answer of the server, as results are shown: "hostKey" is host_key, at every depth, and what
// is null is left out. `settings` have the words of their file already. Not for members that users
// name, such as tags.
Json in_snake_case(const Json& from);

// Markdown: one table per resource.
std::string reference_page();

}  // namespace turnout::resources
