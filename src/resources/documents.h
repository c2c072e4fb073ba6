// The kinds of document that have no life of their own, a row each: the server's catalog keeps
// them, its routes and the verbs of the command line are made from the rows.
#pragma once

#include <span>
#include <string_view>

#include "resources/describe.h"

namespace turnout::resources {

struct DocumentKind {
    std::string_view word;     // the command's: "environment"
    std::string_view path;     // in URLs, ids and keys: "environments"
    std::string_view one;      // for messages: "data asset"
    std::string_view article;  // "a"
    enum class Keys { Single, Versioned } keys;
    // Reads its YAML and its REST document; nullptr: no person writes it.
    const Description& (*description)();
    std::string_view location = "";  // the member of properties that says where its files are
    std::string_view context = "";   // the member that says from which folder it is built
    // The member of properties that says its name, description and tags once more: the definition
    // as its author wrote it.
    std::string_view definition = "";
    // The member of a job's definition that names one; data and models are inputs.
    std::string_view job_member = "";
    std::string_view about = "";   // a sentence for `--help`
    std::string_view sample = "";  // a name, for examples

    std::string with_article() const;  // "an environment"
};

std::span<const DocumentKind> document_kinds();
// nullptr if there is none.
const DocumentKind* kind_of_path(std::string_view path);
const DocumentKind* kind_of_word(std::string_view word);

// The keys that every document has: description, tags, properties.
const Description& any_document();

}  // namespace turnout::resources
