// Video files through libav: once through to count the frames, once more to keep the chosen ones.
#include "core/error.h"
#include "core/interrupt.h"
#include "image/formats.h"
#include "image/video.h"

#ifdef DVLM_HAVE_LIBAV
extern "C" {
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/log.h>
#include <libavutil/mem.h>
#include <libswscale/swscale.h>
}
#include <algorithm>
#include <cmath>
#include <memory>
#endif

namespace dvlm {

#ifdef DVLM_HAVE_LIBAV

namespace {

constexpr int kMaxFrames = 1 << 24;

// libav also takes texts, playlists and lists of other files for videos: only containers are opened.
constexpr char kContainers[] = "mov,matroska,avi,mpegts,mpeg,flv,ogg,asf,ivf,gif";

// At once, whatever a file's header announces: a frame of the most pixels that are decoded has 384 MiB.
constexpr size_t kMaxBytes = size_t{448} << 20;

struct Free {
  void operator()(AVFormatContext* p) const { avformat_close_input(&p); }
  void operator()(AVCodecContext* p) const { avcodec_free_context(&p); }
  void operator()(AVFrame* p) const { av_frame_free(&p); }
  void operator()(AVPacket* p) const { av_packet_free(&p); }
  void operator()(SwsContext* p) const { sws_freeContext(p); }
};
template <class T>
using Owned = std::unique_ptr<T, Free>;

std::string reason(int code) {
  char text[AV_ERROR_MAX_STRING_SIZE] = "";
  av_strerror(code, text, sizeof text);
  return text;
}

// The frames of the best video stream of a file, in the order in which they are shown.
class VideoReader {
 public:
  explicit VideoReader(const InputFile& file)
      : name_(printable(file.path().string())), packet_(av_packet_alloc()), frame_(av_frame_alloc()) {
    av_log_set_level(AV_LOG_QUIET);
    av_max_alloc(kMaxBytes);
    AVFormatContext* opened = nullptr;
    AVDictionary* settings = nullptr;
    av_dict_set(&settings, "format_whitelist", kContainers, 0);
    av_dict_set(&settings, "protocol_whitelist", "file", 0);
    const int code =
        avformat_open_input(&opened, ("file:" + file.reopened().string()).c_str(), nullptr, &settings);
    av_dict_free(&settings);
    file_.reset(opened);
    if (code == AVERROR(EINVAL) || code == AVERROR_INVALIDDATA)
      fail(
          "{}: not a video that can be read; the containers are MP4, MOV, MKV, WebM, AVI, MPEG, FLV, OGG and "
          "GIF",
          name_);
    if (code < 0) fail("{}: cannot open the video: {}", name_, reason(code));
    check(avformat_find_stream_info(file_.get(), nullptr));
    const AVCodec* codec = nullptr;
    stream_ = av_find_best_stream(file_.get(), AVMEDIA_TYPE_VIDEO, -1, -1, &codec, 0);
    if (stream_ < 0 || !codec) fail("{}: the file has no video that can be decoded", name_);
    const AVCodecParameters* parameters = file_->streams[stream_]->codecpar;
    formats::check_size(parameters->width, parameters->height, name_, {});
    codec_.reset(avcodec_alloc_context3(codec));
    if (!codec_ || !packet_ || !frame_) fail("{}: out of memory", name_);
    check(avcodec_parameters_to_context(codec_.get(), parameters));
    codec_->max_pixels = DecodeLimits{}.max_pixels;
    check(avcodec_open2(codec_.get(), codec, nullptr));
  }

  double fps() const {
    const AVStream& stream = *file_->streams[stream_];
    const AVRational rate = stream.avg_frame_rate.num > 0 ? stream.avg_frame_rate : stream.r_frame_rate;
    if (rate.num <= 0 || rate.den <= 0)
      fail("{}: the video does not say how many frames it has per second", name_);
    return av_q2d(rate);
  }

  // The next frame, valid until the next call; null at the end.
  const AVFrame* next() {
    for (;;) {
      if (interrupted()) fail("{}: interrupted", name_);
      const int code = avcodec_receive_frame(codec_.get(), frame_.get());
      if (code == 0) return frame_.get();
      if (code == AVERROR_EOF) return nullptr;
      if (code != AVERROR(EAGAIN)) check(code);
      feed();
    }
  }

  const std::string& name() const { return name_; }

 private:
  void check(int code) const {
    if (code < 0) fail("{}: broken video: {}", name_, reason(code));
  }

  void feed() {
    int code = 0;
    while ((code = av_read_frame(file_.get(), packet_.get())) >= 0 && packet_->stream_index != stream_)
      av_packet_unref(packet_.get());
    if (code < 0 && code != AVERROR_EOF) check(code);
    check(avcodec_send_packet(codec_.get(), code < 0 ? nullptr : packet_.get()));
    av_packet_unref(packet_.get());
  }

  std::string name_;
  Owned<AVFormatContext> file_;
  Owned<AVCodecContext> codec_;
  Owned<AVPacket> packet_;
  Owned<AVFrame> frame_;
  int stream_ = -1;
};

int count_frames(const InputFile& file) {
  VideoReader reader(file);
  int count = 0;
  while (reader.next())
    if (++count > kMaxFrames)
      fail("{}: the video has more than {} frames; cut it", reader.name(), kMaxFrames);
  return count;
}

Image to_rgb(const AVFrame& frame, Owned<SwsContext>& scaler, const std::string& name) {
  formats::check_size(frame.width, frame.height, name, {});
  scaler.reset(sws_getCachedContext(scaler.release(), frame.width, frame.height,
                                    static_cast<AVPixelFormat>(frame.format), frame.width, frame.height,
                                    AV_PIX_FMT_RGB24, SWS_BILINEAR, nullptr, nullptr, nullptr));
  if (!scaler) fail("{}: the video's pixel format cannot be converted to RGB", name);
  // libswscale writes whole vectors, past the end of rows that are not padded.
  const int stride = (frame.width * 3 + 63) / 64 * 64;
  std::vector<uint8_t> padded(static_cast<size_t>(stride) * frame.height + 64);
  uint8_t* planes[4] = {padded.data(), nullptr, nullptr, nullptr};
  const int strides[4] = {stride, 0, 0, 0};
  if (sws_scale(scaler.get(), frame.data, frame.linesize, 0, frame.height, planes, strides) != frame.height)
    fail("{}: a frame of the video cannot be converted to RGB", name);
  Image image = formats::make_image(frame.width, frame.height);
  for (int y = 0; y < frame.height; ++y)
    std::copy_n(padded.data() + static_cast<size_t>(y) * stride, frame.width * 3,
                image.pixels.data() + static_cast<size_t>(y) * frame.width * 3);
  return image;
}

Size frame_size(Size size, size_t frames, const VideoOptions& video, const PreprocessOptions& options) {
  if (options.resized_height > 0) return resized_size(size, options);
  // The reference's own ceiling, unless the caller asks for more.
  const double ceiling = static_cast<double>(std::max<int64_t>(VideoOptions{}.max_pixels, video.max_pixels));
  const double share = static_cast<double>(video.total_pixels) / static_cast<double>(frames) * 2;
  const double minimum = static_cast<double>(video.min_pixels);
  const double most = std::max(std::min(ceiling, share), std::floor(minimum * 1.05));
  return smart_resize_within(size, options.patch_size * options.merge_size, minimum,
                             std::min(static_cast<double>(video.max_pixels), most));
}

}  // namespace

Patches preprocess_video_file(const InputFile& file, const VideoOptions& video,
                              const PreprocessOptions& options) {
  const int total = count_frames(file);
  VideoReader reader(file);
  const double fps = reader.fps();
  if (total == 0) fail("{}: the video has no frames", reader.name());
  const std::vector<int> indices = select_frames(total, fps, video);
  std::vector<Image> frames;
  Owned<SwsContext> scaler;
  Size original, size;
  for (int at = 0; frames.size() < indices.size(); ++at) {
    const AVFrame* frame = reader.next();
    if (!frame)
      fail("{}: the video ends at frame {}, sooner than when its frames were counted", reader.name(), at);
    if (at != indices[frames.size()]) continue;
    const Image image = to_rgb(*frame, scaler, reader.name());
    if (frames.empty()) {
      original = {image.height, image.width};
      size = frame_size(original, indices.size(), video, options);
      admit(size, indices.size(), options);
    }
    frames.push_back(resize_bicubic_float(image, size));
  }
  Patches patches = extract_patches(frames, options);
  patches.original = original;
  const double sampled = static_cast<double>(indices.size()) / frame_range(total, fps, video).count() * fps;
  patches.second_per_grid = options.temporal_patch_size / sampled;
  return patches;
}

#else

Patches preprocess_video_file(const InputFile& file, const VideoOptions&, const PreprocessOptions&) {
  fail(
      "{}: this build of dvlm reads no video files; build it with FFmpeg's libraries (libavformat, "
      "libavcodec, libswscale), or give the frames as pictures",
      printable(file.path().string()));
}

#endif

}  // namespace dvlm
