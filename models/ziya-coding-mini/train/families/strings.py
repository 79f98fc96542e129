"""Strings and words."""
from .base import family

family("reverse_string", "reverse_string reverse_text flip", "text: str -> str",
       "returns $text reversed | reverses the string $text",
       "返回反转后的字符串 $text | 将字符串 $text 倒序",
       "return $text[::-1]", "('abc') == 'cba'\n('') == ''", topic=("string reversal", "字符串反转"))
family("is_palindrome", "is_palindrome check_palindrome palindrome", "text: str -> bool",
       "checks whether $text is a palindrome | tells whether the string $text reads the same backwards",
       "判断 $text 是否为回文 | 检查字符串 $text 是否是回文串",
       "return $text == $text[::-1]", "('level') == True\n('ab') == False\n('') == True", topic=("a palindrome check", "回文判断"))
family("palindrome_clean", "is_clean_palindrome palindrome_ignore_case phrase_palindrome", "text: str -> bool",
       "checks whether $text is a palindrome, ignoring case and non-alphanumeric characters | tells whether $text is a palindrome when only letters and digits count, case-insensitively",
       "忽略大小写和非字母数字字符，判断 $text 是否为回文 | 只看字母和数字且不分大小写，检查 $text 是否是回文",
       "clean = [c.lower() for c in $text if c.isalnum()]\nreturn clean == clean[::-1]", "('A man, a plan, a canal: Panama') == True\n('ab') == False")
family("count_vowels", "count_vowels vowel_count number_of_vowels", "text: str -> int",
       "counts the vowels in $text | returns the number of vowels in the string $text",
       "统计 $text 中元音字母的个数 | 返回字符串 $text 里元音的数量",
       "return sum(1 for c in $text.lower() if c in 'aeiou')", "('Hello') == 2\n('') == 0", topic=("counting vowels", "统计元音"))
family("count_consonants", "count_consonants consonant_count", "text: str -> int",
       "counts the consonants in $text | returns the number of consonants in the string $text",
       "统计 $text 中辅音字母的个数 | 返回字符串 $text 里辅音的数量",
       "return sum(1 for c in $text.lower() if c.isalpha() and c not in 'aeiou')", "('Hello 1') == 3\n('') == 0")
family("remove_vowels", "remove_vowels strip_vowels no_vowels", "text: str -> str",
       "removes all vowels from $text | returns $text without its vowels",
       "删除 $text 中的所有元音 | 返回去掉元音字母的 $text",
       "return ''.join(c for c in $text if c.lower() not in 'aeiou')", "('Hello') == 'Hll'\n('') == ''")
family("count_words", "count_words word_count number_of_words", "text: str -> int",
       "counts the words in $text | returns the number of words in the string $text",
       "统计 $text 中单词的个数 | 返回字符串 $text 里有多少个单词",
       "return len($text.split())", "('a b  c') == 3\n('') == 0")
family("longest_word", "longest_word find_longest longest", "text: str -> str",
       "returns the longest word in $text | finds the longest word of the sentence $text",
       "返回 $text 中最长的单词 | 找出句子 $text 里最长的词",
       "return max($text.split(), key=len)", "('a bcd ef') == 'bcd'\n('x') == 'x'")
family("shortest_word", "shortest_word find_shortest shortest", "text: str -> str",
       "returns the shortest word in $text | finds the shortest word of the sentence $text",
       "返回 $text 中最短的单词 | 找出句子 $text 里最短的词",
       "return min($text.split(), key=len)", "('abc d ef') == 'd'\n('x') == 'x'")
family("reverse_words", "reverse_words flip_words word_reverse", "text: str -> str",
       "reverses the order of the words in $text | returns $text with its words in reverse order",
       "将 $text 中单词的顺序反转 | 返回单词倒序排列的 $text",
       "return ' '.join($text.split()[::-1])", "('a b c') == 'c b a'\n('') == ''")
family("reverse_each_word", "reverse_each_word flip_each_word", "text: str -> str",
       "reverses each word in $text but keeps the word order | returns $text with every word spelled backwards",
       "反转 $text 中的每个单词但保持单词顺序 | 返回每个单词都倒写的 $text",
       "return ' '.join(word[::-1] for word in $text.split())", "('ab cd') == 'ba dc'\n('') == ''")
family("capitalize_words", "capitalize_words title_words cap_words", "text: str -> str",
       "capitalizes each word in $text | returns $text with the first letter of every word in upper case",
       "将 $text 中每个单词的首字母大写 | 返回每个单词首字母都大写的 $text",
       "return ' '.join(word.capitalize() for word in $text.split())", "('ab cd') == 'Ab Cd'\n('') == ''")
family("to_case", "to_$case make_$case ${case}_text", "text: str -> str",
       "converts $text to $case_en case | returns $text in $case_en case",
       "将 $text 转换为$case_zh | 返回$case_zh形式的 $text",
       "return $text.$case()", "('aBc') == 'aBc'.$case()\n('') == ''",
       vary=dict(case=[dict(case="upper", case_en="upper", case_zh="大写"), dict(case="lower", case_en="lower", case_zh="小写")]))
family("swap_case", "swap_case invert_case toggle_case", "text: str -> str",
       "swaps upper and lower case in $text | returns $text with the case of every letter inverted",
       "交换 $text 中的大小写 | 返回每个字母大小写互换后的 $text",
       "return $text.swapcase()", "('aBc') == 'AbC'\n('') == ''")
family("char_count", "char_count count_chars letter_counts", "text: str -> dict",
       "returns a dictionary that counts each character of $text | counts how often each character occurs in $text, as a dictionary",
       "返回统计 $text 中每个字符出现次数的字典 | 用字典统计字符串 $text 里各字符的次数",
       "counts = {}\nfor c in $text:\n    counts[c] = counts.get(c, 0) + 1\nreturn counts", "('aab') == {'a': 2, 'b': 1}\n('') == {}", topic=("character counting", "字符统计"))
family("word_freq", "word_freq count_each_word word_counts", "text: str -> dict",
       "returns a dictionary that counts each word of $text | counts how often each word occurs in $text, as a dictionary",
       "返回统计 $text 中每个单词出现次数的字典 | 用字典统计 $text 里各单词的频率",
       "counts = {}\nfor word in $text.split():\n    counts[word] = counts.get(word, 0) + 1\nreturn counts", "('a b a') == {'a': 2, 'b': 1}\n('') == {}", topic=("word frequency counting", "词频统计"))
family("most_common_char", "most_common_char top_char frequent_char", "text: str -> str",
       "returns the most common character in $text | finds the character that occurs most often in $text",
       "返回 $text 中出现最多的字符 | 找出字符串 $text 里最常见的字符",
       "return max($text, key=$text.count)", "('abb') == 'b'\n('z') == 'z'")
family("first_unique_char", "first_unique_char first_single unique_char", "text: str -> str",
       "returns the first character of $text that is not repeated, or None | finds the first character that occurs once in $text, or returns None",
       "返回 $text 中第一个不重复的字符，没有则返回 None | 找出字符串 $text 里第一个只出现一次的字符，找不到返回 None",
       "for c in $text:\n    if $text.count(c) == 1:\n        return c\nreturn None", "('aabc') == 'b'\n('aa') == None")
family("are_anagrams", "are_anagrams is_anagram anagram_check", "a: str, b: str -> bool",
       "checks whether $a and $b are anagrams | tells whether the strings $a and $b have the same letters",
       "判断 $a 和 $b 是否为变位词 | 检查字符串 $a 与 $b 是否由相同字母组成",
       "return sorted($a) == sorted($b)", "('listen', 'silent') == True\n('a', 'b') == False", topic=("an anagram check", "变位词判断"))
family("remove_spaces", "remove_spaces strip_spaces no_spaces", "text: str -> str",
       "removes all spaces from $text | returns $text without spaces",
       "删除 $text 中的所有空格 | 返回去掉空格的 $text",
       "return $text.replace(' ', '')", "('a b c') == 'abc'\n('') == ''")
family("collapse_spaces", "collapse_spaces normalize_spaces squeeze", "text: str -> str",
       "replaces runs of whitespace in $text with one space | normalizes the whitespace of $text to single spaces",
       "将 $text 中连续的空白替换为一个空格 | 把字符串 $text 的多余空白压缩成单个空格",
       "return ' '.join($text.split())", "(' a   b ') == 'a b'\n('') == ''")
family("remove_char", "remove_char drop_char delete_char", "text: str, char: str -> str",
       "removes every $char from $text | returns $text without the character $char",
       "删除 $text 中所有的 $char | 返回去掉字符 $char 的 $text",
       "return $text.replace($char, '')", "('banana', 'a') == 'bnn'\n('', 'x') == ''")
family("count_char", "count_char char_occurrences how_many_chars", "text: str, char: str -> int",
       "counts how often the character $char occurs in $text | returns the number of times $char appears in the string $text",
       "统计字符 $char 在 $text 中出现的次数 | 返回字符串 $text 里有多少个 $char",
       "return $text.count($char)", "('banana', 'a') == 3\n('', 'x') == 0")
family("replace_char", "replace_with_sep swap_spaces join_with", "text: str -> str",
       "replaces every space in $text with '$sep' | returns $text with '$sep' in place of spaces",
       "将 $text 中的空格替换为 '$sep' | 返回用 '$sep' 代替空格的 $text",
       "return $text.replace(' ', '$sep')", "('a b') == 'a${sep}b'\n('') == ''", vary=dict(sep="- _ . * + # / : ; | ~ = %20".split()))
family("join_words", "join_words join_list concat", "words: list[str] -> str",
       "joins the strings in $words with '$sep' | returns one string made of $words separated by '$sep'",
       "用 '$sep' 连接 $words 中的字符串 | 返回用 '$sep' 分隔的 $words 拼接字符串",
       "return '$sep'.join($words)", "(['a', 'b']) == 'a${sep}b'\n([]) == ''", vary=dict(sep="- _ . * + # / : ; | ~ =".split()))
family("split_text", "split_text split_by parse_parts", "text: str -> list[str]",
       "splits $text at '$sep' into a list | returns the list of parts of $text separated by '$sep'",
       "以 '$sep' 为分隔符将 $text 切分成列表 | 返回 $text 按 '$sep' 分割后的列表",
       "return $text.split('$sep')", "('a${sep}b') == ['a', 'b']", vary=dict(sep="- _ . * + # / : ; | ~ =".split()))
family("prefix_suffix", "has_$aff check_$aff ${aff}_test", "text: str -> bool",
       "checks whether $text $verb '$word' | tells whether the string $text $verb '$word'",
       "判断 $text 是否以 '$word' $aff_zh | 检查字符串 $text 是不是以 '$word' $aff_zh",
       "return $text.$method('$word')", "('$word') == True\n('') == False",
       vary=dict(aff=[dict(aff="prefix", verb="starts with", aff_zh="开头", method="startswith"), dict(aff="suffix", verb="ends with", aff_zh="结尾", method="endswith")],
                 word="http abc data test tmp log py txt json img user key ok err v1 id new old".split()))
family("contains_word", "contains_word has_word includes", "text: str -> bool",
       "checks whether $text contains '$word' | tells whether '$word' occurs in the string $text",
       "判断 $text 是否包含 '$word' | 检查字符串 $text 中有没有 '$word'",
       "return '$word' in $text", "('x $word') == True\n('') == False", vary=dict(word="http abc data test tmp log error json img user key ok err warn id new old cat dog sun".split()))
family("repeat_string", "repeat_string repeat_text echo", "text: str -> str",
       "returns $text repeated $k times | repeats the string $text $k times",
       "返回重复 $k 次的 $text | 将字符串 $text 重复 $k 次",
       "return $text * $k", "('ab') == 'ab' * $k\n('') == ''", vary=dict(k=range(2, 60)))
family("truncate", "truncate shorten cut_text", "text: str -> str",
       "cuts $text to $k characters and adds '...' if it is longer | shortens $text to at most $k characters, followed by '...' when cut",
       "若 $text 超过 $k 个字符则截断并加上 '...' | 将 $text 截断到 $k 个字符，被截断时末尾加 '...'",
       "if len($text) <= $k:\n    return $text\nreturn $text[:$k] + '...'", "('a' * 100) == 'a' * $k + '...'\n('a') == 'a'", vary=dict(k=range(5, 99)))
family("pad", "pad_$side ${side}_pad fill_$side", "text: str -> str",
       "pads $text on the $side with '$ch' to width $k | fills $text on the $side with '$ch' up to $k characters",
       "用 '$ch' 在$side_zh填充 $text 到宽度 $k | 将 $text 的$side_zh用 '$ch' 补齐到 $k 个字符",
       "return $text.$method($k, '$ch')", "('a') == 'a'.$method($k, '$ch')",
       vary=dict(side=[dict(side="left", side_zh="左侧", method="rjust"), dict(side="right", side_zh="右侧", method="ljust")], ch="0 * - . # _ +".split(), k=range(3, 40)))
family("caesar", "caesar caesar_cipher shift_letters", "text: str, shift: int -> str",
       "encrypts the lower case string $text with a Caesar cipher of $shift | applies the Caesar cipher with $shift to the lower case letters of $text",
       "用位移 $shift 的凯撒密码加密小写字符串 $text | 对 $text 的小写字母做偏移为 $shift 的凯撒加密",
       """
result = ''
for c in $text:
    if c.islower():
        c = chr((ord(c) - 97 + $shift) % 26 + 97)
    result += c
return result
""", "('xyz a', 3) == 'abc d'\n('', 1) == ''", topic=("the Caesar cipher", "凯撒密码"))
family("run_length", "run_length rle_encode compress", "text: str -> str",
       "compresses $text by run-length encoding | returns the run-length encoding of $text, each character followed by its count",
       "对 $text 做游程编码压缩 | 返回 $text 的游程编码，字符后跟次数",
       """
result = ''
i = 0
while i < len($text):
    j = i
    while j < len($text) and $text[j] == $text[i]:
        j += 1
    result += $text[i] + str(j - i)
    i = j
return result
""", "('aab') == 'a2b1'\n('') == ''", topic=("run-length encoding", "游程编码"))
family("common_prefix", "common_prefix longest_prefix shared_prefix", "words: list[str] -> str",
       "returns the longest common prefix of the strings in $words | finds the longest prefix shared by all of $words",
       "返回 $words 中字符串的最长公共前缀 | 求字符串列表 $words 的最长公共前缀",
       """
if not $words:
    return ''
prefix = $words[0]
for word in $words:
    while not word.startswith(prefix):
        prefix = prefix[:-1]
return prefix
""", "(['flower', 'flow', 'fly']) == 'fl'\n([]) == ''\n(['a', 'b']) == ''", topic=("the longest common prefix", "最长公共前缀"))
family("is_pangram", "is_pangram check_pangram all_letters", "text: str -> bool",
       "checks whether $text is a pangram | tells whether $text contains every letter of the alphabet",
       "判断 $text 是否为全字母句 | 检查 $text 是否包含所有英文字母",
       "return set('abcdefghijklmnopqrstuvwxyz') <= set($text.lower())", "('The quick brown fox jumps over the lazy dog') == True\n('abc') == False")
family("extract_digits", "extract_digits only_digits get_digits", "text: str -> str",
       "returns only the digits of $text | extracts the digits from the string $text",
       "只返回 $text 中的数字字符 | 提取字符串 $text 里的数字",
       "return ''.join(c for c in $text if c.isdigit())", "('a1b2') == '12'\n('') == ''")
family("only_letters", "only_letters keep_letters letters_only", "text: str -> str",
       "returns only the letters of $text | extracts the letters from the string $text",
       "只返回 $text 中的字母 | 提取字符串 $text 里的字母",
       "return ''.join(c for c in $text if c.isalpha())", "('a1b2') == 'ab'\n('') == ''")
family("extract_numbers", "extract_numbers find_numbers parse_ints", "text: str -> list[int]",
       "returns all integers found in $text | extracts all whole numbers from $text as a list of ints",
       "返回 $text 中的所有整数 | 从 $text 里提取所有数字，返回整数列表",
       "return [int(x) for x in re.findall(r'\\d+', $text)]", "('a12b3') == [12, 3]\n('') == []", imports="import re")
family("snake_to_camel", "snake_to_camel to_camel camelize", "text: str -> str",
       "converts the snake_case string $text to camelCase | turns $text from snake_case into camelCase",
       "将下划线命名的 $text 转换为驼峰命名 | 把 snake_case 的 $text 转成 camelCase",
       "parts = $text.split('_')\nreturn parts[0] + ''.join(p.capitalize() for p in parts[1:])", "('ab_cd_ef') == 'abCdEf'\n('a') == 'a'", topic=("snake case to camel case", "下划线转驼峰"))
family("camel_to_snake", "camel_to_snake to_snake snakify", "text: str -> str",
       "converts the camelCase string $text to snake_case | turns $text from camelCase into snake_case",
       "将驼峰命名的 $text 转换为下划线命名 | 把 camelCase 的 $text 转成 snake_case",
       "return ''.join('_' + c.lower() if c.isupper() else c for c in $text)", "('abCdEf') == 'ab_cd_ef'\n('a') == 'a'", topic=("camel case to snake case", "驼峰转下划线"))
family("initials", "initials get_initials first_letters", "name: str -> str",
       "returns the upper case initials of the words in $name | makes the initials of $name in upper case",
       "返回 $name 中各单词首字母的大写缩写 | 取 $name 每个单词的首字母并大写",
       "return ''.join(word[0].upper() for word in $name.split())", "('ada king love') == 'AKL'\n('') == ''")
family("hamming_strings", "hamming_distance hamming count_mismatches", "a: str, b: str -> int",
       "returns the Hamming distance of $a and $b | counts the positions at which the strings $a and $b differ",
       "返回 $a 和 $b 的汉明距离 | 统计字符串 $a 与 $b 不同的位置数",
       "return sum(x != y for x, y in zip($a, $b))", "('abc', 'axc') == 1\n('', '') == 0", topic=("the Hamming distance", "汉明距离"))
family("edit_distance", "edit_distance levenshtein min_edits", "a: str, b: str -> int",
       "computes the edit distance between $a and $b | returns the Levenshtein distance of $a and $b",
       "计算 $a 和 $b 的编辑距离 | 返回 $a 与 $b 的莱文斯坦距离",
       """
row = list(range(len($b) + 1))
for i, x in enumerate($a, 1):
    last = row[0]
    row[0] = i
    for j, y in enumerate($b, 1):
        cost = last + (x != y)
        last = row[j]
        row[j] = min(cost, row[j] + 1, row[j - 1] + 1)
return row[-1]
""", "('kitten', 'sitting') == 3\n('', 'ab') == 2", topic=("the edit distance", "编辑距离"))
family("lcs_length", "lcs_length longest_common_subsequence lcs", "a: str, b: str -> int",
       "returns the length of the longest common subsequence of $a and $b | computes the LCS length of $a and $b",
       "返回 $a 和 $b 的最长公共子序列长度 | 计算 $a 与 $b 的 LCS 长度",
       """
dp = [[0] * (len($b) + 1) for _ in range(len($a) + 1)]
for i, x in enumerate($a):
    for j, y in enumerate($b):
        if x == y:
            dp[i + 1][j + 1] = dp[i][j] + 1
        else:
            dp[i + 1][j + 1] = max(dp[i][j + 1], dp[i + 1][j])
return dp[-1][-1]
""", "('abcde', 'ace') == 3\n('', 'a') == 0", topic=("the longest common subsequence", "最长公共子序列"))
family("brackets", "is_balanced valid_brackets check_brackets", "text: str -> bool",
       "checks whether the brackets in $text are balanced | tells whether $text has matching brackets of the kinds (), [] and {}",
       "判断 $text 中的括号是否匹配 | 检查字符串 $text 的 ()、[]、{} 是否配对",
       """
pairs = {')': '(', ']': '[', '}': '{'}
stack = []
for c in $text:
    if c in '([{':
        stack.append(c)
    elif c in pairs:
        if not stack or stack.pop() != pairs[c]:
            return False
return not stack
""", "('([])') == True\n('(]') == False\n('(') == False", topic=("bracket matching", "括号匹配"))
family("substrings", "all_substrings substrings list_substrings", "text: str -> list[str]",
       "returns all non-empty substrings of $text | makes a list of every substring of $text",
       "返回 $text 的所有非空子串 | 列出字符串 $text 的全部子串",
       "n = len($text)\nreturn [$text[i:j] for i in range(n) for j in range(i + 1, n + 1)]", "('ab') == ['a', 'ab', 'b']\n('') == []")
family("longest_unique", "longest_unique longest_no_repeat unique_window", "text: str -> int",
       "returns the length of the longest substring of $text without repeated characters | finds how long the longest substring of $text with distinct characters is",
       "返回 $text 中无重复字符的最长子串的长度 | 求字符串 $text 里不含重复字符的最长子串长度",
       """
last = {}
start = best = 0
for i, c in enumerate($text):
    if c in last and last[c] >= start:
        start = last[c] + 1
    last[c] = i
    best = max(best, i - start + 1)
return best
""", "('abcabcbb') == 3\n('') == 0\n('bbb') == 1", topic=("the longest substring without repeats", "无重复字符的最长子串"))
family("lengths", "word_lengths lengths_of string_lengths", "words: list[str] -> list[int]",
       "returns the lengths of the strings in $words | computes the length of each word in $words",
       "返回 $words 中各字符串的长度 | 计算列表 $words 里每个单词的长度",
       "return [len(word) for word in $words]", "(['a', 'bc']) == [1, 2]\n([]) == []")
family("longer_than", "longer_than long_words words_over", "words: list[str] -> list[str]",
       "returns the words in $words longer than $k characters | keeps only the strings of $words with more than $k characters",
       "返回 $words 中长度超过 $k 的单词 | 只保留列表 $words 里多于 $k 个字符的字符串",
       "return [word for word in $words if len(word) > $k]", "(['a' * $k, 'a' * ($k + 1)]) == ['a' * ($k + 1)]\n([]) == []", vary=dict(k=range(1, 50)))
family("starts_with_letter", "words_with_$c starting_with_$c filter_$c", "words: list[str] -> list[str]",
       "returns the words in $words that start with '$c' | keeps only the strings of $words beginning with '$c'",
       "返回 $words 中以 '$c' 开头的单词 | 只保留列表 $words 里以 '$c' 开始的字符串",
       "return [word for word in $words if word.startswith('$c')]", "(['$c', '${c}x', '1']) == ['$c', '${c}x']\n([]) == []", vary=dict(c=list("abcdefghklmnprstuwy")))
family("text_to_binary", "text_to_ascii char_codes to_codes", "text: str -> list[int]",
       "returns the character codes of $text | converts each character of $text to its code as a list",
       "返回 $text 中各字符的编码 | 将字符串 $text 的每个字符转换为编码列表",
       "return [ord(c) for c in $text]", "('AB') == [65, 66]\n('') == []")
family("center_title", "banner frame_title make_banner", "text: str -> str",
       "returns $text centered in a line of $k '$ch' characters | centers $text in $k characters filled with '$ch'",
       "返回在 $k 个 '$ch' 中居中的 $text | 将 $text 居中并用 '$ch' 填充到 $k 个字符",
       "return $text.center($k, '$ch')", "('ab') == 'ab'.center($k, '$ch')", vary=dict(ch="* - = # ~ + .".split(), k=range(10, 80)))
