// The report as one file for a browser: tables, curves, every question with its answers and pictures.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "evaluate/report.h"

namespace dvlm {

// Data URLs of a question's pictures; none where they are not at hand.
using PicturesOf = std::function<std::vector<std::string>(const TaskResult& task, const std::string& id)>;

// Pictures of questions that were answered wrong or differently are in it, up to some 32 MiB, and up to
// 20,000 questions of each task.
std::string report_html(const std::vector<TaskResult>& results, const PicturesOf& pictures_of);

}  // namespace dvlm
