#include "synth/paper.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>

#include "synth/catalog.h"

namespace dvlm {

namespace {

constexpr std::array<const char*, 7> kDays = {"Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"};
constexpr std::array<const char*, 12> kMonths = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                 "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
constexpr std::array<const char*, 12> kPersons = {"Anna", "Ben", "Tom", "Eva", "Sam", "Mia",
                                                  "Leo",  "Ida", "Kim", "Tim", "Zoe", "Max"};
constexpr std::array<const char*, 5> kGroups = {"A", "B", "C", "D", "E"};

// What a chart counts; short enough for a title.
constexpr std::array<const char*, 12> kCounted = {"Apples", "Balls",  "Bells",   "Books",  "Cups", "Gifts",
                                                  "Keys",   "Lemons", "Pencils", "Phones", "Saws", "Spoons"};
constexpr std::array<const char*, 5> kThingTitles = {"Sold today", "In the box", "On the table", "In the car",
                                                     "Things we need"};

constexpr std::array<const char*, 6> kShops = {"FOOD SHOP", "TOYS SHOP",  "TOOLS SHOP",
                                               "FAST FOOD", "TOOLS SALE", "TOYS SALE"};
constexpr std::array<const char*, 5> kForms = {"Order form", "Room card", "Name card", "Work list",
                                               "Team card"};

template <class Names>
std::string draw_name(const Names& names, Random& random) {
  return names[static_cast<size_t>(random.below(static_cast<int64_t>(names.size())))];
}

int draw_number(Random& random, int low, int high) {
  return low + static_cast<int>(random.below(high - low + 1));
}

// Names of things that differ; those of charts whose bars stand have little room.
std::vector<std::string> draw_things(Random& random, size_t count, size_t longest) {
  std::vector<std::string> names;
  while (names.size() < count) {
    std::string name = kThings[static_cast<size_t>(random.below(kThings.size()))].name;
    if (name.size() <= longest && std::ranges::find(names, name) == names.end())
      names.push_back(std::move(name));
  }
  return names;
}

// `count` that follow each other, from a random one on.
template <class Names>
std::vector<std::string> draw_run(const Names& all, Random& random, size_t count) {
  const auto first = static_cast<size_t>(random.below(static_cast<int64_t>(all.size() - count + 1)));
  return std::vector<std::string>(all.begin() + first, all.begin() + first + count);
}

std::vector<std::string> draw_labels(Paper& chart, Random& random, size_t count) {
  const double u = random.uniform() * (chart.kind == PaperKind::line ? 0.4 : 1);  // a line runs through time
  chart.title = draw_name(kCounted, random);
  if (u < 0.2) {
    chart.noun = "day";
    return chart.title += " per day", draw_run(kDays, random, count);
  }
  if (u < 0.4) {
    chart.noun = "month";
    return chart.title += " per month", draw_run(kMonths, random, count);
  }
  if (u < 0.55) {
    chart.noun = "person";
    std::vector<std::string> names(kPersons.begin(), kPersons.end());
    random.shuffle(names.begin(), names.end());
    names.resize(count);
    return chart.title += " per person", names;
  }
  if (u < 0.65) {
    chart.noun = "group";
    return chart.title += " per group", draw_run(kGroups, random, count);
  }
  chart.noun = "thing";
  chart.title = draw_name(kThingTitles, random);
  return draw_things(random, count, chart.kind == PaperKind::rows ? 11 : 4);
}

Paper draw_chart(Random& random) {
  Paper chart;
  const double u = random.uniform();
  chart.kind = u < 0.45 ? PaperKind::bars : u < 0.7 ? PaperKind::rows : PaperKind::line;
  chart.printed = chart.kind == PaperKind::rows || random.uniform() < 0.75;
  const double v = random.uniform();
  chart.top = v < 0.15 ? 10 : v < 0.5 ? 50 : 100;
  const auto count = static_cast<size_t>(draw_number(random, 3, 5));
  // Without printed values, a value lies on a line of the grid or in the middle between two.
  const int step = chart.printed ? 1 : chart.top / 10;
  std::set<int> seen;
  for (const std::string& label : draw_labels(chart, random, count)) {
    int value = 0;
    do value = step * draw_number(random, 1, chart.top / step - 1);
    while (!seen.insert(value).second);
    chart.entries.push_back({Role::point, label, std::to_string(value), value});
  }
  return chart;
}

PaperEntry draw_date(const char* name, Random& random) {
  const int day = draw_number(random, 1, 28);  // arguments of one call would be drawn in any order
  return {Role::date, name, fmt::format("{} {}", day, draw_name(kMonths, random))};
}

Paper draw_receipt(Random& random) {
  Paper receipt;
  receipt.kind = PaperKind::receipt;
  receipt.width = 224, receipt.height = 252;
  receipt.title = draw_name(kShops, random);
  if (random.uniform() < 0.8) receipt.entries.push_back(draw_date("Date", random));
  if (random.uniform() < 0.6) receipt.entries.push_back({Role::person, "Clerk", draw_name(kPersons, random)});
  int total = 0;
  for (const std::string& name : draw_things(random, static_cast<size_t>(draw_number(random, 2, 4)), 11)) {
    const int cents = 5 * draw_number(random, 10, 199);
    receipt.entries.push_back({Role::item, name, price_text(cents), cents});
    total += cents;
  }
  receipt.entries.push_back({Role::total, "Total", price_text(total), total});
  return receipt;
}

PaperEntry draw_field(int which, Random& random) {
  const auto number = [&](int low, int high) { return std::to_string(draw_number(random, low, high)); };
  switch (which) {
    case 0:
      return {Role::field, "Room", number(10, 99)};
    case 1:
      return {Role::field, "Count", number(1, 99)};
    case 2:
      return {Role::field, "Number", number(100, 999)};
    case 3:
      return {Role::field, "Color", kColours[static_cast<size_t>(random.below(kColours.size()))].name};
    case 4:
      return {Role::field, "Object", kThings[static_cast<size_t>(random.below(kThings.size()))].name};
    case 5:
      return {Role::field, "Place", draw_name(kPlaceNames, random)};
    default:
      return draw_date("Date", random);
  }
}

Paper draw_form(Random& random) {
  Paper form;
  form.kind = PaperKind::form;
  form.width = form.height = random.uniform() < 0.5 ? 224 : 0;
  if (form.width == 0) form.width = 224, form.height = 252;
  form.title = draw_name(kForms, random);
  form.entries.push_back({Role::person, "Name", draw_name(kPersons, random)});
  std::vector<int> fields = {0, 1, 2, 3, 4, 5, 6};
  random.shuffle(fields.begin(), fields.end());
  fields.resize(static_cast<size_t>(draw_number(random, 2, 4)));
  for (const int field : fields) form.entries.push_back(draw_field(field, random));
  return form;
}

PaperEntry draw_statement(int which, Random& random) {
  const auto number = [&](int low, int high) { return std::to_string(draw_number(random, low, high)); };
  switch (which) {
    case 0:
      return {Role::field, "Room", number(10, 99)};
    case 1:
      return {Role::field, "Phone", number(100, 999)};
    case 2: {
      const std::string from = number(6, 11);
      return {Role::field, "Open", from + " to " + number(14, 22)};
    }
    case 3:
      return draw_date(random.uniform() < 0.5 ? "Until" : "From", random);
    default:
      return {Role::person, "Ask", draw_name(kPersons, random)};
  }
}

Paper draw_notice(Random& random) {
  Paper notice;
  notice.kind = PaperKind::notice;
  notice.height = random.uniform() < 0.5 ? 224 : 196;
  notice.title = draw_name(kSignWords, random);
  std::vector<int> statements = {0, 1, 2, 3, 4};
  random.shuffle(statements.begin(), statements.end());
  statements.resize(static_cast<size_t>(draw_number(random, 2, 3)));
  for (const int statement : statements) notice.entries.push_back(draw_statement(statement, random));
  return notice;
}

Paper draw_document(Random& random) {
  const double u = random.uniform();
  return u < 0.4 ? draw_receipt(random) : u < 0.75 ? draw_form(random) : draw_notice(random);
}

}  // namespace

std::vector<const PaperEntry*> Paper::entries_of(Role role) const {
  std::vector<const PaperEntry*> found;
  for (const PaperEntry& entry : entries)
    if (entry.role == role) found.push_back(&entry);
  return found;
}

const char* kind_name(PaperKind kind) {
  switch (kind) {
    case PaperKind::bars:
    case PaperKind::rows:
      return "bar chart";
    case PaperKind::line:
      return "line chart";
    case PaperKind::receipt:
      return "receipt";
    case PaperKind::form:
      return "form";
    case PaperKind::notice:
      break;
  }
  return "notice";
}

std::string price_text(int cents) {
  return fmt::format("{}.{:02}", cents / 100, cents % 100);
}

std::vector<std::string> printed_lines(const Paper& paper) {
  std::vector<std::string> lines = {paper.title};
  const char* between = paper.kind == PaperKind::form ? ": " : " ";
  for (const PaperEntry& entry : paper.entries) lines.push_back(entry.name + between + entry.text);
  return lines;
}

Paper make_paper(Family family, uint64_t seed, Split split, int64_t index, int attempt) {
  Random random = sample_random(seed, split, Purpose::scene, index, attempt);
  Paper paper = family == Family::charts ? draw_chart(random) : draw_document(random);
  paper.look = static_cast<uint64_t>(random.below(int64_t{1} << 40));
  return paper;
}

}  // namespace dvlm
