// Synthetic charts and documents: what they say, made deterministically from (seed, split, index).
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "image/image.h"
#include "synth/scene.h"

namespace dvlm {

enum class Family { charts, documents };

// Bars stand, rows are bars that lie; the first three are charts, the others documents.
enum class PaperKind { bars, rows, line, receipt, form, notice };

enum class Role { point, item, total, date, person, field };

// A bar or point of a chart, an item of a receipt, a line of a form or notice.
struct PaperEntry {
  Role role = Role::field;
  std::string name;  // "Mon", "hammer", "Room"
  std::string text;  // as printed: "12", "4.50", "47"
  int number = 0;    // of points the value, of items and totals the price in cents
};

struct Paper {
  PaperKind kind = PaperKind::bars;
  int width = 252, height = 224;
  std::string title;
  std::string noun;                 // charts: what names stand for, "day"
  std::vector<PaperEntry> entries;  // in the order in which they are drawn
  int top = 100;                    // charts: the value at the end of the axis
  bool printed = true;              // charts: values stand at the points; otherwise the axis alone tells them
  uint64_t look = 0;                // seed of colours, sizes and offsets, which no question asks about

  bool is_chart() const { return kind <= PaperKind::line; }
  std::vector<const PaperEntry*> entries_of(Role role) const;
};

const char* kind_name(PaperKind kind);  // "bar chart", "line chart", "receipt", "form", "notice"

std::string price_text(int cents);  // "4.50"

// The lines of a document as one reads them: the title, then "apple 1.50" or, of forms, "Room: 47".
std::vector<std::string> printed_lines(const Paper& paper);

// `attempt` gives another paper of the same index (up to 255), for questions that not every paper allows.
Paper make_paper(Family family, uint64_t seed, Split split, int64_t index, int attempt = 0);

// A word or digit of the picture: what training may learn to read there. Words begin with a space, as inside
// a sentence; the digits of a number have a mark each, since one mark of "47" would be that of "74", too.
struct Mark {
  Box box;  // as wide as the letters, as high as the line
  std::string label;
};

struct PaperPicture {
  Image picture;
  std::vector<Mark> marks;
};

PaperPicture paint_paper(const Paper& paper);

}  // namespace dvlm
