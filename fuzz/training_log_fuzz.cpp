// The log of a training run, whose last line a power cut may have torn: points keep their order and ranges,
// are the same when they are written again, and give a picture of bounded size.
#include <cmath>

#include "fuzzing.h"
#include "train/curve.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace dvlm;
  constexpr int64_t kLast = 1000;
  const fuzz::MemoryFile file(fuzz::text_of(data, size));
  std::vector<LogPoint> points;
  if (!fuzz::accepts([&] { points = read_log(file.path(), kLast); })) return 0;
  std::string lines;
  for (const LogPoint& point : points) {
    DVLM_ASSERT(point.step >= 0 && point.step <= kLast && point.block_size >= 0);
    DVLM_ASSERT(std::isfinite(point.loss) && std::isfinite(point.clean) && std::isfinite(point.seconds));
    lines += to_json_line(point);
  }
  const fuzz::MemoryFile again(lines);
  std::string read_again;
  for (const LogPoint& point : read_log(again.path(), kLast)) read_again += to_json_line(point);
  DVLM_ASSERT(read_again == lines);
  const std::string svg = loss_curve_svg(points, "a <title>");
  DVLM_ASSERT(svg.ends_with("</svg>\n") && svg.size() < 20000 + 400 * points.size());
  DVLM_ASSERT(svg.find("nan") == svg.npos && svg.find("inf") == svg.npos);
  return 0;
}
