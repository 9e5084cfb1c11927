"""Writes reference.json, real.json and trained.json: what Hugging Face's tokenizers (0.22.2) makes of texts and ids.

    make_reference.py QWEN3_DIRECTORY SMOLLM2_DIRECTORY

Each entry of reference.json takes a tokenizer.json ("base"), changes some of its keys, and lists texts with their ids
and ids with their text. Characters are limited to those of Unicode 3.2, on which all libraries agree. real.json has the
ids of the lines of texts/udhr.txt and of the first lines of texts/shakespeare.txt; trained.json has vocabularies and
merges that BpeTrainer makes of both.
"""

import json
import pathlib
import random
import sys
import unicodedata

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

HERE = pathlib.Path(__file__).parent
BASES = {"tiny-bpe": HERE / "tiny-bpe/tokenizer.json",
         "stories260K": HERE.parent / "goldens/stories260K-hf/tokenizer.json"}

TEXTS = ["", " ", "Hello, world! 123", "  It's  3.14 and I'LL see\r\n\n", "h\u00e9llo e\u0301 \u0130\u00df \ufb01 \u01c5",
         "\ud55c\uad6d\uc5b4 \u1100\u1161 \u65e5\u672c\u8a9e \u0416", "the [BC] foo foo[B]Foo  <s>the</s> <|x|>_",
         "a\tb\u00a0c\u3000d\u2028e\u200bf\ufeff", "snake_case x+y=$5 \u00b2\u2163\u0663 a\u200db \u00bc", "\u2581Once\u2581 \u2581"]
QWEN = ("(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
        "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+")
REGEXES = ["\\w+|[^\\w\\s]+", "\\b", "\\B", "(?=\\d)", "a*", "[\\r\\n]", "\\p{Lu}\\p{Ll}*", "[[:punct:]]+",
           " ?[^(\\s|[.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c])]+", "[[:alpha:][:digit:]]", "[a[bc]d-]+", "\\W", "[\\w]+",
           "[[:graph:]]+", "[[:print:]]+", "[[:blank:][:word:]]+", "[[:upper:]]|[[:lower:]]",
           "\\p{Han}+|\\p{Hangul}", "(?i)THE", ".", "[0-9][0-9][0-9]", "\\h+", QWEN]
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
UNSPLIT = BYTE_LEVEL | {"use_regex": False}


def sequence(key, *parts):
  return {"type": "Sequence", key: list(parts)}


def split(pattern, behavior="Isolated", invert=False):
  return {"type": "Split", "pattern": pattern, "behavior": behavior, "invert": invert}


def metaspace(scheme, cut=True):
  return {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": scheme, "split": cut}


def replace(pattern, content):
  return {"type": "Replace", "pattern": pattern, "content": content}


def template(single):
  return {"type": "TemplateProcessing", "single": single, "pair": single + [{"Sequence": {"id": "B", "type_id": 1}}],
          "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]},
                             "</s>": {"id": "</s>", "ids": [2, 3], "tokens": ["</s>", "x"]}}}


def added(content, id, **flags):
  return {"id": id, "content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
          "special": False} | flags


def configurations():
  yield "tiny-bpe", {}
  yield "stories260K", {}
  for type in ["NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Nmt", "ByteLevel"]:
    yield "stories260K", {"normalizer": {"type": type}}
  for left, right in [(True, False), (False, True), (True, True)]:
    yield "tiny-bpe", {"normalizer": {"type": "Strip", "strip_left": left, "strip_right": right}}
  yield "tiny-bpe", {"normalizer": sequence("normalizers", {"type": "NFD"}, {"type": "StripAccents"},
                                            {"type": "Lowercase"}, {"type": "Prepend", "prepend": "_"})}
  for regex in REGEXES:
    yield "stories260K", {"normalizer": replace({"Regex": regex}, "#")}
    yield "tiny-bpe", {"pre_tokenizer": sequence("pretokenizers", split({"Regex": regex}), UNSPLIT)}
  for behavior in ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"]:
    for invert in [False, True]:
      yield "tiny-bpe", {"pre_tokenizer": split({"String": " "}, behavior, invert)}
      yield "tiny-bpe", {"pre_tokenizer": sequence("pretokenizers", split({"Regex": "[a-m]"}, behavior, invert), UNSPLIT)}
    yield "tiny-bpe", {"pre_tokenizer": {"type": "Punctuation", "behavior": behavior}}
  for scheme in ["always", "first", "never"]:
    for cut in [False, True]:
      yield "stories260K", {"normalizer": None, "pre_tokenizer": metaspace(scheme, cut), "decoder": metaspace(scheme, cut)}
  for part in [{"type": "Whitespace"}, {"type": "WhitespaceSplit"}, {"type": "CharDelimiterSplit", "delimiter": "e"},
               {"type": "Digits", "individual_digits": True}, {"type": "Digits", "individual_digits": False}]:
    yield "tiny-bpe", {"pre_tokenizer": sequence("pretokenizers", part, BYTE_LEVEL)}
    yield "stories260K", {"pre_tokenizer": part}
  yield "tiny-bpe", {"pre_tokenizer": BYTE_LEVEL | {"add_prefix_space": True}}
  yield "tiny-bpe", {"pre_tokenizer": sequence("pretokenizers", BYTE_LEVEL, {"type": "Digits", "individual_digits": True})}
  text, begin, end = {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "<s>", "type_id": 0}}, \
      {"SpecialToken": {"id": "</s>", "type_id": 0}}
  for single in [[text], [begin, text], [text, end], [begin, begin, text, end]]:
    yield "stories260K", {"post_processor": template(single)}
  yield "tiny-bpe", {"post_processor": sequence("processors", BYTE_LEVEL, template([begin, text, end]))}
  yield "tiny-bpe", {"post_processor": {"type": "BertProcessing", "sep": ["</s>", 7], "cls": ["<s>", 8]}}
  yield "tiny-bpe", {"post_processor": {"type": "RobertaProcessing", "sep": ["</s>", 7], "cls": ["<s>", 8],
                                        "trim_offsets": True, "add_prefix_space": True}}
  yield "stories260K", {"decoder": None}
  fallback, fuse = {"type": "ByteFallback"}, {"type": "Fuse"}
  strip = {"type": "Strip", "content": "e", "start": 1, "stop": 0}
  for parts in [[fallback], [fuse], [fallback, fuse, strip], [fuse, BYTE_LEVEL], [BYTE_LEVEL, strip], [strip, fallback],
                [replace({"Regex": "[aeiou]+"}, "*"), fuse], [fuse, replace({"String": "th"}, "TH")],
                [metaspace("always"), fuse], []]:
    yield "stories260K", {"decoder": sequence("decoders", *parts)}
  yield "stories260K", {"decoder": {"type": "BPEDecoder", "suffix": "e"}}
  for model in [{"fuse_unk": False, "byte_fallback": False}, {"fuse_unk": True, "byte_fallback": False},
                {"unk_token": None, "byte_fallback": False}, {"unk_token": None}, {"ignore_merges": True}]:
    yield "stories260K", {"model": model}
  yield "stories260K", {"model": {"vocab": {t: i for i, t in enumerate(["<unk>", "t", "h", "##h", "##e", "##he", "the", " "])},
                                  "merges": [["##h", "##e"], ["t", "##he"]], "continuing_subword_prefix": "##"},
                        "pre_tokenizer": {"type": "Whitespace"}, "normalizer": None, "added_tokens": []}
  yield "stories260K", {"model": {"end_of_word_suffix": "s"}}
  tokens = ["[B", "[BC]", "foo", " foo", "Foo", "the", "<|x|>", "_", "\u00e9"]
  for flags in [{}, {"special": True}, {"single_word": True}, {"lstrip": True}, {"rstrip": True},
                {"lstrip": True, "rstrip": True, "single_word": True}, {"normalized": True},
                {"normalized": True, "rstrip": True, "special": True}]:
    for base, count in [("tiny-bpe", 2003), ("stories260K", 512)]:
      vocabulary = json.loads(BASES[base].read_text())["model"]["vocab"]
      fresh = iter(range(count, count + 100))
      yield base, {"added_tokens+": [added(t, vocabulary[t] if t in vocabulary else next(fresh), **flags) for t in tokens]}
  for normalizer in [{"type": "Lowercase"}, replace({"Regex": "\\p{P}+"}, " ")]:
    yield "stories260K", {"normalizer": normalizer, "pre_tokenizer": None,
                          "added_tokens+": [added("Foo", 512, normalized=True), added("_", 513, normalized=True, rstrip=True)]}


def changed(base, changes):
  json_object = json.loads(BASES[base].read_text())
  for key, value in changes.items():
    if key == "model":
      json_object["model"] |= value
    elif key == "added_tokens+":
      json_object["added_tokens"] += value
    else:
      json_object[key] = value
  return Tokenizer.from_str(json.dumps(json_object))


def write(name, entries):
  lines = ",\n".join(json.dumps(entry, ensure_ascii=False, separators=(",", ":")) for entry in entries)
  (HERE / name).write_text("[\n" + lines + "\n]\n", encoding="utf-8")


def reference():
  draw = random.Random(1)
  for base, changes in configurations():
    tokenizer = changed(base, changes)
    encoded, decoded = [], []
    for text in TEXTS:
      assert all(unicodedata.ucd_3_2_0.category(c) != "Cn" for c in text), text
      plain = tokenizer.encode(text, add_special_tokens=False).ids
      special = tokenizer.encode(text).ids
      encoded.append([text, plain] + ([special] if special != plain else []))
    size = tokenizer.get_vocab_size()
    for ids in [encoded[2][-1], encoded[5][-1], [draw.randrange(size + 3) for _ in range(7)],
                [draw.randrange(260) for _ in range(7)]]:
      full, skipped = tokenizer.decode(ids, skip_special_tokens=False), tokenizer.decode(ids)
      decoded.append([ids, full] + ([skipped] if skipped != full else []))
    yield {"base": base, "changes": changes, "encoded": encoded, "decoded": decoded}


def gpt2():
  tokenizer = Tokenizer(models.BPE.from_file(str(HERE / "gpt2/vocab.json"), str(HERE / "gpt2/merges.txt")))
  tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
  tokenizer.decoder = decoders.ByteLevel()
  tokenizer.add_special_tokens(["<|endoftext|>"])
  return tokenizer


def lines_of(name):
  return (HERE / "texts" / name).read_text(encoding="utf-8").splitlines(keepends=True)


def real(qwen3, smollm2):
  tokenizers = {"gpt2": gpt2(), "tiny-bpe": Tokenizer.from_file(str(BASES["tiny-bpe"])),
                "qwen3": Tokenizer.from_file(qwen3 + "/tokenizer.json"),
                "smollm2": Tokenizer.from_file(smollm2 + "/tokenizer.json")}
  for name, tokenizer in tokenizers.items():
    for text in lines_of("udhr.txt") + ["".join(lines_of("shakespeare.txt")[:60])]:
      yield {"tokenizer": name, "text": text, "ids": tokenizer.encode(text).ids}


def trained():
  for texts, size, frequency, special in [
      (["shakespeare.txt"], 600, 0, ["<|endoftext|>"]), (["shakespeare.txt"], 2000, 3, ["<s>", "</s>", "<pad>"]),
      (["udhr.txt"], 5000, 2, []), (["shakespeare.txt", "udhr.txt"], 4000, 0, ["<|endoftext|>"])]:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(vocab_size=size, min_frequency=frequency, show_progress=False, special_tokens=special,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(["".join(lines_of(name)) for name in texts], trainer)
    model = json.loads(tokenizer.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    yield {"texts": texts, "vocab_size": size, "min_frequency": frequency, "special_tokens": special, "tokens": tokens,
           "merges": [" ".join(merge) for merge in model["merges"]]}


def main():
  write("reference.json", reference())
  write("real.json", real(*sys.argv[1:]))
  write("trained.json", trained())


if __name__ == "__main__":
  main()
