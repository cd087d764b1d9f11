/* dvlm's C interface: load a checkpoint, ask about pictures, get text. For languages that call C.
 *
 * Strings are UTF-8. A function that fails returns NULL and, when `error` is not NULL, sets *error to one
 * sentence that the caller frees with dvlm_free. Any thread may call any function at any time, but for
 * dvlm_close, dvlm_release and dvlm_wait, which are alone with their engine or answer (dvlm_cancel may be
 * called while another thread waits). Answers that are under
 * way on one engine share passes over its weights; a process may have several engines.
 *
 * Structures begin with `size`: set it to sizeof of the structure, and what a later version adds is off. */
#ifndef DVLM_DVLM_H
#define DVLM_DVLM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define DVLM_API __attribute__((visibility("default")))

typedef struct dvlm_engine dvlm_engine;
typedef struct dvlm_answer dvlm_answer; /* under way, or ended */

/* How the pixels of a frame stand in memory, 8 bits per channel. DVLM_RGBA and DVLM_BGRA are pasted on white.
 * DVLM_NV12: a plane of luma, then one of half its width and height with U and V in turn (BT.601, 16 to 235).
 * DVLM_FILE: a JPEG, PNG, WebP, GIF, BMP or PNM file of `length` bytes. */
enum { DVLM_RGB, DVLM_BGR, DVLM_RGBA, DVLM_BGRA, DVLM_GRAY, DVLM_NV12, DVLM_FILE };

/* A picture in memory, which is read during the call alone. Messages name it "frame:0", "frame:1", ... What
 * is left at zero has the meaning that it says. */
typedef struct dvlm_frame {
  size_t size;           /* sizeof(dvlm_frame) */
  const uint8_t* data;   /* the top row, or a file */
  const uint8_t* chroma; /* DVLM_NV12: its second plane; NULL: right behind the first */
  size_t length;         /* DVLM_FILE: its bytes */
  int64_t stride;        /* bytes from a row to the next, of either plane; 0: rows without gaps */
  int32_t width, height; /* in pixels; nothing of DVLM_FILE */
  int32_t pixels;        /* DVLM_RGB, ... */
} dvlm_frame;

/* Text as it is committed, `length` bytes, complete characters. Return 0 to stop the answer, anything else to
 * go on. */
typedef int (*dvlm_on_text)(const char* text, size_t length, void* user);

/* Work that gives no text yet, `done` of `total`: `stage` is "picture" (layers of a picture's or video's
 * encoder) or "prompt" (tokens of the prompt). Several times a second for a large model. Return 0 to stop the
 * answer, anything else to go on. */
typedef int (*dvlm_on_progress)(const char* stage, int64_t done, int64_t total, void* user);

/* `model`: a Hugging Face model folder, or a name of the hub that `dvlm pull` has fetched (docs/models.md).
 * `options`: a JSON object or NULL; keys "device" ("auto": the first NVIDIA card that the model fits, where
 * libdvlm_cuda_plugin.so stands beside this library, else the CPU; "cpu", "cuda", "cuda:1"), "precision"
 * ("auto", "f32", "bf16", "int8", "int4"), "draft_precision" ("auto", "same", "int8", "int4", "fp8": what
 * drafts are made with), "packed" (a file that keeps the repacked weights), "threads", "memory_limit"
 * (bytes), "lora" and "draft_lora" (folders of LoRA adapters, docs/lora.md). What is left out is chosen for
 * speed within the memory that is free; answers say what it takes. */
DVLM_API dvlm_engine* dvlm_open(const char* model, const char* options, char** error);
/* Cancels what is under way. Its answers stay; one that nobody has waited for until its end holds the model's
 * memory until it is waited for or released. */
DVLM_API void dvlm_close(dvlm_engine* engine);

/* Answers a request. `request`: a JSON object with "messages" (OpenAI style) and, optionally, "decoder"
 * ("ar", "mdm", "spec", "fused", "auto", which is the default), "block_size", "branches", "draft_p_min",
 * "threshold", "sub_block", "max_tokens", "temperature", "top_k", "top_p", "seed", "repetition_penalty",
 * "presence_penalty", "frequency_penalty", "logit_bias" ({"token id": bias}), "stop" (one text or several
 * that end the answer), "min_pixels", "max_pixels", "add_vision_id", "passes" (true: the answer has them),
 * and one of "json_schema" (a string that holds a schema, with "json_spaces"), "regex" and "grammar"
 * (docs/grammars.md). An unknown key is an error. Either function may be NULL; they are called by this
 * thread. Returns the JSON object that `dvlm run --json` prints (docs/cli.md). */
DVLM_API char* dvlm_generate(dvlm_engine* engine, const char* request, const dvlm_frame* frames,
                             size_t frame_count, dvlm_on_text on_text, dvlm_on_progress on_progress,
                             void* user, char** error);

/* The same in pieces, for whoever has more to do than to wait: begins an answer, and returns when its
 * pictures are read. Fails for pictures that cannot be. */
DVLM_API dvlm_answer* dvlm_submit(dvlm_engine* engine, const char* request, const dvlm_frame* frames,
                                  size_t frame_count, char** error);

/* What an answer has gained. Its strings stay until the next dvlm_wait or dvlm_release for that answer. */
typedef struct dvlm_update {
  size_t size;         /* sizeof(dvlm_update) */
  const char* text;    /* as dvlm_on_text gets it, and a zero behind it; never NULL */
  size_t length;       /* of the text; 0: no more of it */
  const char* stage;   /* as dvlm_on_progress gets it, the latest; NULL: as before */
  int64_t done, total; /* of the stage */
  int32_t ended;       /* 1: there is nothing more to wait for */
} dvlm_update;

/* Waits for something new, at most `timeout_ms` (0: looks and returns; negative: any time). Returns 1 where
 * there is something, an end included, 0 where not, and -1 for NULL, a size that is not set, and no memory.
 */
DVLM_API int dvlm_wait(dvlm_answer* answer, int timeout_ms, dvlm_update* update);
/* Its work ends with the next pass. */
DVLM_API void dvlm_cancel(dvlm_answer* answer);
/* What dvlm_generate returns, once the answer has ended. */
DVLM_API char* dvlm_result(dvlm_answer* answer, char** error);
/* Cancels it if it is under way. */
DVLM_API void dvlm_release(dvlm_answer* answer);

DVLM_API void dvlm_free(char* string);
DVLM_API const char* dvlm_version(void);

#ifdef __cplusplus
}
#endif
#endif
