// What a JSON schema says, without its references and combinations.
#pragma once
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace dvlm {

// Resolves $ref, allOf, anyOf and oneOf inside one document.
class PlainSchemas {
 public:
  using json = nlohmann::ordered_json;
  // dvlm's own keyword: "any" for objects whose members stand in any order.
  static constexpr const char* kOrder = "x-dvlm-order";

  // `origin`: what sentences call the document, which must outlive this.
  PlainSchemas(const json& document, std::string origin) : document_(document), origin_(std::move(origin)) {}

  // Schemas of which a value must fit one: objects of other keywords alone, each with all that must hold.
  // Schemas inside them are as they were, or {"allOf": [...]}.
  std::vector<json> of(const json& schema) { return of(schema, 0); }
  // The schema that a reference names.
  const json& target(const std::string& reference) const;

  // Throws Error for keywords that are unknown or not supported.
  void check(const json& schema) const;
  // Whether a keyword limits values at all.
  static bool is_annotation(const std::string& keyword);

  template <class... Args>
  [[noreturn]] void refuse(const Args&... parts) const {
    std::string sentence = origin_ + ": ";
    ((sentence += parts), ...);
    refuse_sentence(sentence);
  }

 private:
  [[noreturn]] static void refuse_sentence(const std::string& sentence);
  std::vector<json> of(const json& schema, int depth);
  std::vector<json> any(const json& schemas, const char* keyword, int depth);
  std::vector<json> both(const std::vector<json>& a, const std::vector<json>& b) const;
  json merged(const json& a, const json& b) const;
  void merge_keyword(json& into, const json& other, const std::string& keyword) const;
  json merged_properties(const json& a, const json& b) const;
  json merged_items(const json& a, const json& b) const;
  void check_exclusive(const json& schemas, int depth);
  bool differ_inside(const json& a, const json& b, int depth);
  void spend(size_t work) const;  // throws Error when it was too much

  const json& document_;
  const std::string origin_;
  mutable size_t work_ = 0;
};

// The names of types that a plain schema allows, "integer" beside "number" only where "number" is not.
std::vector<std::string> types_of(const nlohmann::ordered_json& plain);
// Whether a value is of one of these types.
bool is_of_type(const nlohmann::ordered_json& value, const std::vector<std::string>& types);

}  // namespace dvlm
