/* dvlm's C interface: load a checkpoint, ask about pictures, get text. Stable for languages that call C.
 *
 * Strings are UTF-8. A function that fails returns NULL and, when `error` is not NULL, sets *error to one
 * sentence that the caller frees with dvlm_free. An engine is used by one thread at a time; several engines
 * may run at once. */
#ifndef DVLM_DVLM_H
#define DVLM_DVLM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define DVLM_API __attribute__((visibility("default")))

typedef struct dvlm_engine dvlm_engine;

/* A picture in memory: 8-bit RGB, row-major, height * width * 3 bytes. Messages name it "frame:0", "frame:1",
 * ... */
typedef struct dvlm_frame {
  const uint8_t* rgb;
  int width, height;
} dvlm_frame;

/* Text as it is committed, `length` bytes, complete characters. Return 0 to stop the answer, anything else to
 * go on. */
typedef int (*dvlm_on_text)(const char* text, size_t length, void* user);

/* Work that gives no text yet: `stage` is "costs" (passes are timed, `done` of `total`, once per machine),
 * "picture" (layers of a picture's or video's encoder) or "prompt" (tokens of the prompt). Several times a
 * second for a large model. Return 0 to stop the answer, anything else to go on. */
typedef int (*dvlm_on_progress)(const char* stage, int64_t done, int64_t total, void* user);

/* `folder`: a Hugging Face model folder. `options`: a JSON object or NULL; keys "device" ("auto": the first
 * NVIDIA card that the model fits, where libdvlm_cuda_plugin.so stands beside this library, else the CPU;
 * "cpu", "cuda", "cuda:1"), "precision" ("auto", "f32", "bf16"), "draft_precision" ("auto", "same", "int8",
 * "int4": what drafts are made with), "packed" (a file that keeps the repacked weights), "threads",
 * "memory_limit" (bytes), "lora" and "draft_lora" (folders of LoRA adapters, docs/lora.md). What is left out
 * is chosen for speed within the memory that is free; answers say what it takes. */
DVLM_API dvlm_engine* dvlm_open(const char* folder, const char* options, char** error);
DVLM_API void dvlm_close(dvlm_engine* engine);

/* Whom the answers from now on tell of their work; NULL: nobody. */
DVLM_API void dvlm_listen(dvlm_engine* engine, dvlm_on_progress on_progress, void* user);

/* `request`: a JSON object with "messages" (OpenAI style) and, optionally, "decoder" ("ar", "mdm", "spec",
 * "fused", "auto", which is the default), "block_size", "branches", "draft_p_min", "threshold", "sub_block",
 * "max_tokens", "temperature", "top_k", "top_p", "seed", "min_pixels", "max_pixels", "add_vision_id", and one
 * of "json_schema" (a string that holds a schema, with "json_spaces"), "regex" and "grammar"
 * (docs/grammars.md). An unknown key is an error. Returns the JSON object that `dvlm run --json` prints
 * (docs/cli.md). */
DVLM_API char* dvlm_generate(dvlm_engine* engine, const char* request, const dvlm_frame* frames,
                             size_t frame_count, dvlm_on_text on_text, void* user, char** error);

DVLM_API void dvlm_free(char* string);
DVLM_API const char* dvlm_version(void);

#ifdef __cplusplus
}
#endif
#endif
